//! Reads what the kernel counts of this process, under the names that all exporters give it.

use std::fs;

use super::text::Text;
use super::text::Type;

/// Adds what `/proc` tells; where there is none, or a part of it can't be read, that part is absent.
pub(super) fn render(page: &mut Text) {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
    let gauge = |page: &mut Text, name: &str, help: &str, value: Option<u64>| {
        if let Some(value) = value {
            page.family(name, Type::Gauge, help);
            page.sample(name, "", value);
        }
    };
    if let Some(stat) = &stat {
        let name = "process_cpu_seconds_total";
        page.family(name, Type::Counter, "CPU time of the process, user and system.");
        page.sample(name, "", seconds(stat.cpu_ticks));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = kilobytes(&status, "VmRSS:");
    gauge(page, "process_resident_memory_bytes", "Memory of the process that is in RAM.", resident);
    let size = kilobytes(&status, "VmSize:");
    gauge(page, "process_virtual_memory_bytes", "Address space of the process.", size);
    gauge(page, "process_open_fds", "Open file descriptors.", open_files());
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    gauge(page, "process_max_fds", "The limit of open file descriptors.", open_files_max(&limits));
    let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
    if let (Some(stat), Some(booted)) = (&stat, booted) {
        let name = "process_start_time_seconds";
        page.family(name, Type::Gauge, "When the process started, in seconds since 1970.");
        page.sample(
            name,
            "",
            seconds(booted.saturating_mul(TICKS_PER_SECOND).saturating_add(stat.start_ticks)),
        );
    }
}

/// The parts of `/proc/self/stat` (proc_pid_stat(5)) that are of use.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    /// Since the machine was booted.
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything, spaces and more
        // parentheses included; the fields after the last one are numbered from 3.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)?.checked_add(field(15)?)?, start_ticks: field(22)? })
    }
}

fn seconds(ticks: u64) -> String {
    format!("{}.{:02}", ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND)
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn open_files() -> Option<u64> {
    // Since Linux 6.2 the size of the directory is their number; to list 100,000 of them takes long.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64),
        size => Some(size),
    }
}

fn open_files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// USER_HZ, which Linux shows to programs whatever its own clock: 100 everywhere but on dead architectures.
const TICKS_PER_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_whose_program_name_is_hostile() {
        let text = "12 (a) R 9 (x y) S 1 12 12 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 3 0 98765 1000 50";
        assert_eq!(Stat::parse(text), Some(Stat { cpu_ticks: 281, start_ticks: 98765 }));
        assert_eq!(Stat::parse("12 (a"), None);
        assert_eq!(Stat::parse("12 (a) S 1"), None);
        assert_eq!(seconds(281), "2.81");
    }

    #[test]
    fn reads_the_other_files() {
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t     12 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(12288));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
        let limits = "Limit      Soft Limit   Hard Limit\nMax open files            1024      4096   files\n";
        assert_eq!(open_files_max(limits), Some(1024));
        assert_eq!(open_files_max("Max open files  unlimited unlimited files\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn tells_of_this_process() {
        let mut page = Text::default();
        render(&mut page);
        let page = page.finish();
        let value = |name: &str| -> f64 {
            let line =
                page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(1e6 < value("process_resident_memory_bytes "));
        assert!(3.0 <= value("process_open_fds "));
        assert!(value("process_open_fds ") <= value("process_max_fds "));
        assert!(1.6e9 < value("process_start_time_seconds "));
        assert!(value("process_cpu_seconds_total ") < 3600.0);
    }
}
