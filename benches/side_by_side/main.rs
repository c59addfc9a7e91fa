//! This crate and `kvbm-logical`, side by side: the same operations on the same inputs, in one
//! process and on one thread.
//!
//! `cargo bench --bench side_by_side` runs everything, which takes ten minutes, and prints a table
//! with the ratios. A filter, as in `cargo bench --bench side_by_side -- lifecycle`, runs a part.
//! Only the ratios within a run are worth comparing. `scaling` measures how throughput changes with
//! the number of threads.
//!
//! * *Match*: of active blocks; of inactive blocks; of none; of a request whose first half is cached;
//!   and of a random request in a pool so large that none of it is in the processor's caches.
//! * *Lifecycle*: a request of which nothing is cached; in a full pool, so that it evicts.
//! * *Mixed requests*: requests that share prompts, chosen by Zipf's law. In a pool of 10,000 blocks,
//!   about half of the blocks are hits.

mod caller;
#[path = "../figures/data.rs"]
mod data;
mod guards;
#[path = "../workload/pool.rs"]
mod pool;
mod scenes;
mod table;
#[path = "../workload/mod.rs"]
mod workload;

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::{Duration, SystemTime};

use caller::{DropIn, Own};
use criterion::{BenchmarkId, Criterion, Throughput};
use data::{Machine, Policy};
use guards::Guards;
use pool::{Pool, Shape, Tier};
use scenes::{Active, Allocate, Cold, Half, Inactive, Lifecycle, Miss, Mixed, Scene};
use workload::BATCH;

type Ours = kvbm_lockfree::BlockManager<Tier>;
type Reference = kvbm_logical::BlockManager<Tier>;

/// The default number of blocks in a pool.
const POOL: usize = 10_000;
const LARGE: usize = 1_000_000;
const OTHER_POOLS: [usize; 3] = [1_000, 100_000, LARGE];
const OTHER_BATCHES: [usize; 4] = [1, 8, 128, 512];
const POLICIES: [Policy; 5] = [
    Policy::Lru,
    Policy::MultiLru,
    Policy::Hashmap,
    Policy::LineageTick,
    Policy::LineageFifo,
];

/// The methods that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Method {
    Own,
    DropIn,
    Reference,
}

impl Method {
    const ALL: [Self; 3] = [Self::Own, Self::DropIn, Self::Reference];

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::DropIn => "drop-in",
            Self::Reference => "reference",
        }
    }
}

/// The circumstances of an operation.
#[derive(Clone, Copy)]
struct Case {
    shape: Shape,
    batch: usize,
}

impl Case {
    fn new(policy: Policy) -> Self {
        Self {
            shape: Shape::new(policy, POOL),
            batch: BATCH,
        }
    }

    fn blocks(mut self, blocks: usize) -> Self {
        self.shape.blocks = blocks;
        self
    }

    fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    fn tracked(mut self) -> Self {
        self.shape.is_tracked = true;
        self
    }

    fn with_events(mut self) -> Self {
        self.shape.has_events = true;
        self
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Shape {
            policy,
            blocks,
            is_tracked,
            has_events,
        } = self.shape;
        write!(f, "{policy}, {} of {blocks}", self.batch)?;
        f.write_str(if is_tracked { ", tracked" } else { "" })?;
        f.write_str(if has_events { ", events" } else { "" })
    }
}

/// The harness, and what has been measured so far.
struct Bench {
    criterion: Criterion,
    /// The operations with their circumstances.
    cases: Vec<(String, String)>,
}

impl Bench {
    /// Measures turns of one batch each. The scene is created only if it is needed.
    fn measure<F: FnMut()>(
        &mut self,
        operation: &str,
        case: Case,
        method: Method,
        scene: impl Fn() -> F,
    ) {
        let parameter = case.to_string();
        let mut group = self.criterion.benchmark_group(operation);
        group.throughput(Throughput::Elements(case.batch as u64));
        let mut turn = None;
        group.bench_function(BenchmarkId::new(method.name(), &parameter), |b| {
            b.iter(turn.get_or_insert_with(&scene));
        });
        let row = (operation.to_string(), parameter);
        if !self.cases.contains(&row) {
            self.cases.push(row);
        }
    }

    /// Measures an operation through all methods.
    fn compare<S: Scene>(&mut self, cases: impl IntoIterator<Item = Case>) {
        for case in cases {
            let turns = || S::turns::<Own>(case);
            self.measure(S::NAME, case, Method::Own, turns);
            let turns = || S::turns::<DropIn<Ours>>(case);
            self.measure(S::NAME, case, Method::DropIn, turns);
            let turns = || S::turns::<DropIn<Reference>>(case);
            self.measure(S::NAME, case, Method::Reference, turns);
        }
    }

    /// Measures an operation that has only one method.
    fn guards<P: Pool>(&mut self, method: Method) {
        let guards = Guards::<P>::new(POOL);
        for (name, batch, turn) in Guards::OPERATIONS {
            let case = Case::new(Policy::Lru).tracked().batch(batch);
            self.measure(name, case, method, || || turn(&guards));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let start = SystemTime::now();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
    let mut bench = Bench {
        criterion: Criterion::default()
            .sample_size(20)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(600))
            .output_directory(&folder)
            .configure_from_args(),
        cases: Vec::new(),
    };
    let lru = Case::new(Policy::Lru);
    let tick = Case::new(Policy::LineageTick);
    let other_pools = |case: Case| OTHER_POOLS.map(|blocks| case.blocks(blocks));
    let other_batches = |case: Case| OTHER_BATCHES.map(|batch| case.batch(batch));

    bench.compare::<Allocate>([lru].into_iter().chain(other_batches(lru)));
    bench.compare::<Allocate>(other_pools(lru));
    bench.compare::<Active>([lru, tick].into_iter().chain(other_batches(lru)));
    bench.compare::<Inactive>(POLICIES.map(Case::new));
    bench.compare::<Inactive>(other_batches(lru));
    bench.compare::<Half>([lru, tick]);
    bench.compare::<Miss>([lru]);
    bench.compare::<Cold>([lru, tick].map(|case| case.blocks(LARGE)));
    bench.compare::<Lifecycle>(POLICIES.map(Case::new));
    bench.compare::<Lifecycle>([lru, tick].map(Case::tracked));
    bench.compare::<Lifecycle>([lru, tick].map(Case::with_events));
    bench.compare::<Lifecycle>(other_batches(lru));
    bench.compare::<Lifecycle>(other_pools(lru));
    bench.compare::<Lifecycle>(other_pools(tick));
    bench.compare::<Mixed>([lru, tick]);
    bench.guards::<Ours>(Method::DropIn);
    bench.guards::<Reference>(Method::Reference);

    bench.criterion.final_summary();
    println!("\n{}", Machine::this());
    table::print(&folder, &bench.cases, start)
}
