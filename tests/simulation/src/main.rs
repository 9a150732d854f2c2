//! `evanesce-simulation`: runs seeds, and prints what must not have happened.

use clap::Parser;
use evanesce_simulation::{Run, run};

/// Clients, nodes and discoveries on a simulated network. The exit code is 1 when something must not have happened.
#[derive(Debug, Parser)]
struct Cli {
    /// Run this seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds, one after the other.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Print all that happened, or of one key only (`--trace k1`).
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    trace: Option<String>,
}

fn main() {
    let cli = Cli::parse();
    let seeds = match cli.seed {
        Some(seed) => seed..seed + 1,
        None => cli.from..cli.from + cli.seeds,
    };
    let failed = seeds.filter(|seed| !show(&run(*seed), &cli)).count();
    if failed > 0 {
        eprintln!("{failed} seeds failed: run one again with --seed");
        std::process::exit(1);
    }
}

/// Prints a run. Whether all held.
fn show(run: &Run, cli: &Cli) -> bool {
    if let Some(key) = &cli.trace {
        let is_of = |line: &&String| {
            key.is_empty() || line.split(' ').any(|word| word == key || word == "begins:" || word == "ends:")
        };
        run.trace.iter().filter(is_of).for_each(|line| println!("{line}"));
    }
    let holds = run.violations.is_empty();
    if holds && cli.seed.is_none() {
        let Run { operations, additions_lost, hash, .. } = run;
        println!(
            "--seed {}: {operations} operations, all held, {additions_lost} additions lost, trace {hash:016x}",
            run.plan.seed
        );
    } else {
        print!("{run}");
    }
    holds
}
