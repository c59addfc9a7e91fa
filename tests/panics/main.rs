//! User code that panics, wherever it can stand and whatever reaches it.
mod fuse;
mod ledger;
mod mirror;
mod operation;
mod place;
mod reach;
mod runner;
mod state;
mod table;
mod user;
mod world;
