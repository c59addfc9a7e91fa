//! A NATS server for one test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A `nats-server` with JetStream on a free loopback port. Dropping it deletes its files.
pub struct Server {
    port: u16,
    files: PathBuf,
    has_jetstream: bool,
    process: Option<Child>,
}

impl Server {
    /// Starts a server with this configuration. If the program is missing, says so and returns
    /// `None`.
    pub fn start(configuration: &str) -> Option<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let files = std::env::temp_dir().join(format!("kvbm-nats-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("nats.conf"), configuration).unwrap();
        let mut server = Self {
            port,
            files,
            has_jetstream: true,
            process: None,
        };
        if server.run() {
            Some(server)
        } else {
            println!("SKIPPED: there is no program nats-server");
            None
        }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts the process again, with the same port and files.
    pub fn restart(&mut self) {
        self.restart_with(true);
    }

    /// Starts the process again, with JetStream or without.
    pub fn restart_with(&mut self, has_jetstream: bool) {
        self.kill();
        self.has_jetstream = has_jetstream;
        assert!(self.run());
    }

    fn run(&mut self) -> bool {
        let spawned = Command::new("nats-server")
            .args(["--addr", "127.0.0.1"])
            .args(self.has_jetstream.then_some("--jetstream"))
            .args(["--port", &self.port.to_string()])
            .arg("--config")
            .arg(self.files.join("nats.conf"))
            .arg("--store_dir")
            .arg(&self.files)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match spawned {
            Ok(process) => {
                self.process = Some(process);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => panic!("nats-server: {error}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.files);
    }
}
