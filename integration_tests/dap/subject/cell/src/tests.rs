//! What the driver does in each test; the tests' own files say why.

use crate::{
    cell::{parameter, Cell},
    events::check,
    task::{now, Batches, Query, Task, PRECISION},
};
use interop::Vdaf;
use rand::Rng;

pub type Test = fn(&Cell) -> Result<(), String>;

/// Return the test of that name.
pub fn named(name: &str) -> Option<Test> {
    Some(match name {
        "count" => count,
        "fixed-size" => fixed_size,
        "histogram" => histogram,
        "replayed" => replayed,
        "sum" => sum,
        "too-small" => too_small,
        "two-tasks" => two_tasks,
        "windows" => windows,
        "wrong-token" => wrong_token,
        _ => return None,
    })
}

const TENS: [u64; 3] = [10, 20, 30];

fn count(cell: &Cell) -> Result<(), String> {
    let mut random = cell.random();
    let measurements: Vec<u64> = (0..10).map(|_| random.gen_range(0..=1)).collect();
    aggregate(cell, Vdaf::Count, &measurements)
}

fn sum(cell: &Cell) -> Result<(), String> {
    let bits: u32 = parameter("bits")?.parse().map_err(|error| format!("bits: {error}"))?;
    let largest = u64::MAX >> (64 - bits);
    let mut random = cell.random();
    aggregate(cell, Vdaf::Sum { bits }, &[largest, 0, random.gen_range(0..=largest), largest, 1])
}

fn histogram(cell: &Cell) -> Result<(), String> {
    let (buckets, measurements) = match parameter("boundaries")?.as_str() {
        "1" => (vec![0], vec![0, 1, 0, u64::MAX]),
        _ => (TENS.to_vec(), vec![0, 10, 11, 20, 21, 30, 31, u64::MAX]),
    };
    aggregate(cell, Vdaf::Histogram { buckets }, &measurements)
}

/// Report measurements, and check that a collection comes to them.
fn aggregate(cell: &Cell, vdaf: Vdaf, measurements: &[u64]) -> Result<(), String> {
    let (mut random, at) = (cell.random(), now());
    let task = Task::add(cell, &mut random, vdaf, Batches::OfTime(measurements.len() as u64))?;
    for measured in measurements {
        task.upload(*measured, at)?;
    }
    task.comes_to("aggregate", &task.start(&Query::Interval(at, 1))?, measurements)
}

fn fixed_size(cell: &Cell) -> Result<(), String> {
    let (vdaf, [first, second]) = match parameter("vdaf")?.as_str() {
        "count" => (Vdaf::Count, [[1, 0, 1, 1], [0, 0, 1, 0]]),
        "sum" => (Vdaf::Sum { bits: 8 }, [[1, 2, 4, 8], [16, 32, 64, 128]]),
        _ => (Vdaf::Histogram { buckets: TENS.to_vec() }, [[0, 10, 15, 20], [25, 30, 35, 40]]),
    };
    let (mut random, at) = (cell.random(), now());
    let task = Task::add(cell, &mut random, vdaf, Batches::OfSize(4))?;
    for measured in first.iter().chain(&second) {
        task.upload(*measured, at)?;
    }
    let batches = task.batches()?;
    check("batches", batches.len() == 2, &format!("there are {} batches, 2 were needed", batches.len()));
    let [first_id, second_id] = batches.as_slice() else { return Ok(()) };
    task.comes_to("second batch", &task.start(&Query::Batch(second_id.clone()))?, &second)?;
    task.comes_to("first batch", &task.start(&Query::Batch(first_id.clone()))?, &first)
}

fn replayed(cell: &Cell) -> Result<(), String> {
    let (mut random, at) = (cell.random(), now());
    let task = Task::add(cell, &mut random, Vdaf::Sum { bits: 8 }, Batches::OfTime(3))?;
    let report = task.canned(40, at)?;
    task.upload_canned(&report)?;
    task.upload_canned(&report)?;
    task.upload(1, at)?;
    task.upload_canned(&report)?;
    let handle = task.start(&Query::Interval(at, 1))?;
    task.stays_in_progress("is one report", &handle)?;
    task.upload(2, at)?;
    task.comes_to("aggregate", &handle, &[40, 1, 2])
}

fn too_small(cell: &Cell) -> Result<(), String> {
    let (mut random, at) = (cell.random(), now());
    let task = Task::add(cell, &mut random, Vdaf::Count, Batches::OfTime(3))?;
    task.upload(1, at)?;
    task.upload(1, at)?;
    let handle = task.start(&Query::Interval(at, 1))?;
    task.stays_in_progress("is not given away", &handle)?;
    task.upload(1, at)?;
    task.comes_to("aggregate", &handle, &[1, 1, 1])
}

fn two_tasks(cell: &Cell) -> Result<(), String> {
    let (mut random, at) = (cell.random(), now());
    let mut add = || Task::add(cell, &mut random, Vdaf::Sum { bits: 16 }, Batches::OfTime(3));
    let (small, large) = (add()?, add()?);
    for measured in [1, 2, 3] {
        small.upload(measured, at)?;
        large.upload(1000 * measured, at)?;
    }
    small.comes_to("small ones", &small.start(&Query::Interval(at, 1))?, &[1, 2, 3])?;
    large.comes_to("large ones", &large.start(&Query::Interval(at, 1))?, &[1000, 2000, 3000])
}

fn windows(cell: &Cell) -> Result<(), String> {
    let (mut random, at) = (cell.random(), now());
    let task = Task::add(cell, &mut random, Vdaf::Sum { bits: 8 }, Batches::OfTime(2))?;
    let first = at - at % PRECISION - 2 * PRECISION;
    for (moment, measured) in [(first - 1, 100), (first, 1), (first + PRECISION - 1, 2), (first + PRECISION, 50)] {
        task.upload(measured, moment)?;
    }
    task.comes_to("one window", &task.start(&Query::Interval(first, 1))?, &[1, 2])?;
    task.upload(60, first + 2 * PRECISION)?;
    task.comes_to("two windows", &task.start(&Query::Interval(first + PRECISION, 2))?, &[50, 60])
}

fn wrong_token(cell: &Cell) -> Result<(), String> {
    let (mut random, at) = (cell.random(), now());
    let task = Task::add(cell, &mut random, Vdaf::Count, Batches::OfTime(1))?;
    task.upload(1, at)?;
    task.set_collector_token(false)?;
    task.is_refused("is refused", &task.start(&Query::Interval(at, 1))?, "unauthorizedRequest")?;
    task.set_collector_token(true)?;
    task.comes_to("aggregate", &task.start(&Query::Interval(at, 1))?, &[1])
}
