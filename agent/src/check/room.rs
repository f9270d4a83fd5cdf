//! Checks of the room that a machine has left for the service: memory, disk and CPU. They are there for
//! standbys: one that could not carry the service is not fit to take it over.

use std::num::NonZero;
use std::path::Path;

use nix::sys::statvfs::{Statvfs, statvfs};

use super::Try;
use crate::config::Percent;
use crate::file;
use crate::machine::CPU_PRESSURE;

/// How much memory could be had without swapping, by the kernel's own estimate.
pub(super) fn memory(least: Percent) -> Try {
    told("/proc/meminfo", |text| memory_of(text, least))
}

/// How much of a file system is free for those without privileges. Blocks for as long as the file system does.
pub(super) fn disk(path: &Path, least: Percent) -> Try {
    match statvfs(path) {
        Ok(found) => disk_of(&Room::from(found), least),
        Err(error) => Try::bad(format!("cannot look at `{}`: {error}", path.display())),
    }
}

/// For how much of the last minute something waited for a CPU.
pub(super) fn cpu(most: Percent) -> Try {
    told(CPU_PRESSURE, |text| cpu_of(text, most))
}

/// The mean load of the last minute.
pub(super) fn load(most: u64) -> Try {
    match std::thread::available_parallelism() {
        Ok(cpus) => told("/proc/loadavg", |text| load_of(text, cpus, most)),
        Err(error) => Try::bad(format!("cannot count the CPUs: {error}")),
    }
}

fn told(path: &str, judge: impl FnOnce(&str) -> Option<Try>) -> Try {
    match file::read(Path::new(path)) {
        Ok(text) => {
            judge(&text).unwrap_or_else(|| Try::bad(format!("`{path}` does not say what is expected")))
        }
        Err(error) => Try::bad(format!("cannot read `{path}`: {error}")),
    }
}

fn memory_of(text: &str, least: Percent) -> Option<Try> {
    let field = |name: &str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.trim().strip_suffix("kB")?.trim_end().parse().ok()
    };
    let (available, all) = (field("MemAvailable")?, field("MemTotal")?);
    Some(at_least("of the memory is available", share(available, all)?, least))
}

/// What a file system has, in all and for those without privileges.
struct Room {
    blocks: (u64, u64),
    files: (u64, u64),
}

impl From<Statvfs> for Room {
    fn from(found: Statvfs) -> Self {
        Self {
            blocks: (found.blocks_available(), found.blocks()),
            files: (found.files_available(), found.files()),
        }
    }
}

fn disk_of(room: &Room, least: Percent) -> Try {
    let Some(space) = share(room.blocks.0, room.blocks.1) else {
        return Try::bad("the file system has no size");
    };
    // Some file systems count no files, and tell zero.
    match share(room.files.0, room.files.1) {
        Some(files) if files < space => at_least("of the files it can hold are free", files, least),
        _ => at_least("of the space is free", space, least),
    }
}

fn cpu_of(text: &str, most: Percent) -> Option<Try> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let waited = hundredths(some.split(' ').find_map(|field| field.strip_prefix("avg60="))?)?;
    let reason = format!("something waited for a CPU for {} % of the last minute", decimal(waited));
    Some(match waited <= 100 * u64::from(most.0) {
        true => Try::good(reason),
        false => Try::bad(format!("{reason}, expected at most {most}")),
    })
}

fn load_of(text: &str, cpus: NonZero<usize>, most: u64) -> Option<Try> {
    let load = hundredths(text.split(' ').next()?)?;
    let each = load / u64::try_from(cpus.get()).ok()?;
    let reason = format!("the load is {} for each of {cpus} CPUs", decimal(each));
    Some(match each <= most {
        true => Try::good(reason),
        false => Try::bad(format!("{reason}, expected at most {}", decimal(most))),
    })
}

fn at_least(what: &str, found: u64, least: Percent) -> Try {
    match found >= u64::from(least.0) {
        true => Try::good(format!("{found} % {what}")),
        false => Try::bad(format!("{found} % {what}, expected at least {least}")),
    }
}

/// In percent, rounded down; nothing is no share of nothing.
fn share(part: u64, whole: u64) -> Option<u64> {
    let percent = (u128::from(part) * 100).checked_div(u128::from(whole))?;
    u64::try_from(percent).ok()
}

/// A number with two decimals, as the kernel writes it.
fn hundredths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.')?;
    let part: u64 = (part.len() == 2).then(|| part.parse().ok())??;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part)
}

fn decimal(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str =
        "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    1600000 kB\n";

    #[test]
    fn memory_is_judged_by_what_is_available_and_not_by_what_is_free() {
        assert_eq!(memory_of(MEMORY, Percent(10)), Some(Try::good("10 % of the memory is available")));
        let bad = Try::bad("10 % of the memory is available, expected at least 11 %");
        assert_eq!(memory_of(MEMORY, Percent(11)), Some(bad));
        for odd in ["", "MemTotal: 5 kB\n", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "MemTotal: x kB\n"] {
            assert_eq!(memory_of(odd, Percent(1)), None, "{odd}");
        }
    }

    #[test]
    fn a_disk_is_as_full_as_its_space_or_its_files_are() {
        let disk = |blocks, files| disk_of(&Room { blocks, files }, Percent(5));
        assert_eq!(disk((50, 1_000), (500, 1_000)), Try::good("5 % of the space is free"));
        let bad = "4 % of the space is free, expected at least 5 %";
        assert_eq!(disk((49, 1_000), (500, 1_000)), Try::bad(bad));
        let bad = "0 % of the files it can hold are free, expected at least 5 %";
        assert_eq!(disk((900, 1_000), (0, 1_000)), Try::bad(bad));
        assert_eq!(disk((900, 1_000), (0, 0)), Try::good("90 % of the space is free"));
        assert!(!disk((0, 0), (0, 0)).success);
    }

    #[test]
    fn a_cpu_is_judged_by_what_waited_for_it_in_the_last_minute() {
        let text = "some avg10=0.00 avg60=40.50 avg300=99.00 total=12\nfull avg10=0.00 avg60=0.00 total=0\n";
        let good = "something waited for a CPU for 40.50 % of the last minute";
        assert_eq!(cpu_of(text, Percent(41)), Some(Try::good(good)));
        assert_eq!(cpu_of(text, Percent(40)), Some(Try::bad(format!("{good}, expected at most 40 %"))));
        for odd in ["", "full avg60=1.00", "some avg10=1.00", "some avg60=1", "some avg60=x.yz"] {
            assert_eq!(cpu_of(odd, Percent(1)), None, "{odd}");
        }
    }

    #[test]
    fn a_load_is_shared_by_the_cpus() {
        let judged = |most| load_of("8.00 9.00 1.00 1/234 5", NonZero::new(2).expect("two"), most);
        assert_eq!(judged(400), Some(Try::good("the load is 4.00 for each of 2 CPUs")));
        let bad = "the load is 4.00 for each of 2 CPUs, expected at most 3.99";
        assert_eq!(judged(399), Some(Try::bad(bad)));
        assert_eq!(load_of("nothing", NonZero::<usize>::MIN, 1), None);
    }

    #[test]
    fn this_machine_can_be_asked() {
        assert!(memory(Percent(1)).success, "{:?}", memory(Percent(1)));
        assert!(load(1_000_000).success, "{:?}", load(1_000_000));
        assert!(disk(Path::new("/proc/self/nothing"), Percent(1)).reason.starts_with("cannot look at "));
        let tmp = disk(Path::new("/tmp"), Percent(99));
        assert!(tmp.reason.contains(" is free") || tmp.reason.contains(" are free"), "{tmp:?}");
    }
}
