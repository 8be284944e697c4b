//! Times tensorpress beside burn's wgpu backend (cubecl's kernels, chosen by its autotune) on the
//! same adapter, in one process, in turn. Prints the ratios; exits with 1 where tensorpress is
//! less than [`REQUIRED`] times as fast. Either side's results are first compared with f64.
//! Arguments choose rows: 512, 1024, network.

mod ours;
mod problem;
mod theirs;

use std::process::ExitCode;
use std::time::Instant;

use problem::Problem;
use tensorpress::gpu::{DeviceChoice, Gpu, GpuOptions};

/// How many times as fast as burn every row must be.
const REQUIRED: f64 = 1.2;

/// Timed rounds of a row: in each, every side takes a turn, and its median counts.
const ROUNDS: usize = 15;

/// A turn takes about so many seconds, at least one pass.
const TURN: f64 = 0.1;

/// Runs so many passes and waits for the device; gives the last result where it is wanted.
type Side<'a> = Box<dyn FnMut(usize, bool) -> Vec<f32> + 'a>;

fn main() -> ExitCode {
    let gpu = Gpu::open(&DeviceChoice::Gpu, GpuOptions::default())
        .expect("a Vulkan, Metal or DX12 adapter")
        .expect("gpu is never the CPU backend");
    println!("{}; tensorpress {}, burn 0.22", gpu.label(), env!("CARGO_PKG_VERSION"));
    let device = theirs::device(gpu.is_software());
    println!("{:22} {:>20} {:>20}  ratio (required {REQUIRED})", "", "tensorpress", "burn");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let mut missed = false;
    for (name, side) in [("512", 512), ("1024", 1024)].into_iter().filter(|(name, _)| wanted(name))
    {
        let problem = Problem::product(side);
        let theirs = theirs::products(&device, &problem);
        let name = format!("{name}³");
        missed |= !compare(&name, &problem, ours::product(&gpu, &problem), theirs.into());
    }
    if wanted("network") {
        let problem = Problem::network(1024, &[784, 1200, 1200, 10]);
        let theirs = vec![("", theirs::network(&device, &problem))];
        let name = "784-1200-1200-10, 1024";
        missed |= !compare(name, &problem, ours::network(&gpu, &problem), theirs);
    }
    ExitCode::from(u8::from(missed))
}

/// Times a row, prints it, and tells whether tensorpress is fast enough beside the fastest of
/// burn's forms.
fn compare(
    name: &str,
    problem: &Problem,
    ours: Side<'_>,
    theirs: Vec<(&'static str, Side<'_>)>,
) -> bool {
    let mut sides = vec![("tensorpress", ours)];
    sides.extend(theirs);
    let mut passes = vec![];
    for (who, side) in &mut sides {
        problem.check(who, &side(1, true));
        // Autotune and compiling are over after a few passes.
        side(3, false);
        let start = Instant::now();
        side(1, false);
        passes.push((TURN / start.elapsed().as_secs_f64()).ceil().max(1.0) as usize);
    }
    let mut times = vec![vec![]; sides.len()];
    for _ in 0..ROUNDS {
        for (at, (_, side)) in sides.iter_mut().enumerate() {
            let start = Instant::now();
            side(passes[at], false);
            times[at].push(start.elapsed().as_secs_f64() / passes[at] as f64);
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    for ((who, _), time) in sides.iter().zip(&medians).skip(1) {
        log(name, who, problem, *time);
    }
    let theirs = medians[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let ratio = theirs / medians[0];
    let fast = ratio >= REQUIRED;
    println!(
        "{name:22} {:>20} {:>20}  {ratio:.2}{}",
        figure(problem, medians[0]),
        figure(problem, theirs),
        if fast { "" } else { "  MISSED" }
    );
    fast
}

fn figure(problem: &Problem, seconds: f64) -> String {
    format!("{:.2} ms {:.1} GFLOP/s", seconds * 1e3, problem.flops() / seconds / 1e9)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn log(name: &str, who: &str, problem: &Problem, seconds: f64) {
    if !who.is_empty() {
        eprintln!("{name} burn, {who}: {}", figure(problem, seconds));
    }
}
