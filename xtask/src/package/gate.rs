//! What a program must be before it is packed: it runs on every system that the packages are for, and it is small.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use crate::tools;

/// The glibc of Amazon Linux 2023 and RHEL 9. Ubuntu 22.04 and Debian 12 have newer ones.
const NEWEST_GLIBC: [u32; 2] = [2, 34];

/// What the packages depend on, besides the loader: `libc6` and `libgcc-s1`, `glibc` and `libgcc`.
const LIBRARIES: [&str; 3] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1"];

/// Looks at a program and says in one line what it is; an error if it must not be packed. `most`: in bytes.
pub(crate) fn look_at(program: &Path, most: u64) -> Result<String, Box<dyn Error>> {
    tools::system("objdump", "binutils")?;
    let size = std::fs::metadata(program)?.len();
    let needs = Needs::read(&tools::said(Command::new("objdump").arg("-p").arg(program))?);
    let wrong = needs.problems(size, most);
    let name = program.display();
    if !wrong.is_empty() {
        return Err(format!("{name} must not be packed: {}", wrong.join("; ")).into());
    }
    let newest = needs.newest_glibc().map(|[major, minor]| format!("{major}.{minor}")).unwrap_or_default();
    Ok(format!("{name}: {} KB, needs glibc {newest}", size / 1024))
}

/// What a program asks of the system, as its headers say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    libraries: Vec<String>,
    versions: Vec<Version>,
}

/// A version of a library's symbols without which the loader does not start the program.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    library: String,
    name: String,
}

impl Needs {
    /// Reads what `objdump -p` says.
    fn read(text: &str) -> Self {
        let mut needs = Self::default();
        let mut library = None;
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["NEEDED", name] => needs.libraries.push((*name).to_owned()),
                ["required", "from", name] => library = name.strip_suffix(':').map(str::to_owned),
                [hash, flags, _, name] if hash.starts_with("0x") && flags.starts_with("0x") => {
                    // Bit 1: weak. The loader starts a program without a version that only weak symbols have.
                    let flags = u16::from_str_radix(&flags[2..], 16).unwrap_or_default();
                    if let Some(library) = library.clone().filter(|_| flags & 2 == 0) {
                        needs.versions.push(Version { library, name: (*name).to_owned() });
                    }
                }
                [] => library = None,
                _ => {}
            }
        }
        needs
    }

    fn newest_glibc(&self) -> Option<[u32; 2]> {
        self.versions.iter().filter_map(|version| glibc(&version.name)).max()
    }

    fn problems(&self, size: u64, most: u64) -> Vec<String> {
        let mut problems = Vec::new();
        if size > most {
            problems.push(format!("it has {size} bytes, expected at most {most}"));
        }
        if self.newest_glibc().is_none() {
            problems.push("expected that it needs glibc, found no version of it".to_owned());
        }
        let is_known = |name: &str| LIBRARIES.contains(&name) || name.starts_with("ld-linux-");
        for library in self.libraries.iter().filter(|library| !is_known(library)) {
            problems.push(format!("it needs {library}, which the packages do not depend on"));
        }
        for Version { library, name } in &self.versions {
            let is_of_glibc = name.starts_with("GLIBC_");
            if is_of_glibc && glibc(name).is_none_or(|version| version > NEWEST_GLIBC) {
                let [major, minor] = NEWEST_GLIBC;
                problems.push(format!(
                    "it needs {name} of {library}, expected at most GLIBC_{major}.{minor}; build it on an older system"
                ));
            }
        }
        problems
    }
}

/// `GLIBC_2.34` is 2 and 34; `GLIBC_2.2.5` counts as 2 and 2. `GLIBC_PRIVATE` and the like are no version.
fn glibc(name: &str) -> Option<[u32; 2]> {
    let mut parts = name.strip_prefix("GLIBC_")?.split('.');
    Some([parts.next()?.parse().ok()?, parts.next()?.parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `objdump -p` says of a program that needs this version too, with these flags.
    fn dump(version: &str, flags: &str) -> String {
        format!(
            "program:     file format elf64-x86-64\n\nDynamic Section:\n  NEEDED               libgcc_s.so.1\n  \
             NEEDED               libc.so.6\n  INIT                 0x0000000000043000\n\nVersion References:\n  \
             required from libgcc_s.so.1:\n    0x0b792650 0x00 08 GCC_3.0\n  required from libc.so.6:\n    \
             0x09691a75 0x00 02 GLIBC_2.2.5\n    0x069691b4 {flags} 05 {version}\n\n"
        )
    }

    /// How large programs are and may be, here.
    const SIZE: u64 = 1;

    fn problems(text: &str, size: u64) -> usize {
        Needs::read(text).problems(size, SIZE).len()
    }

    #[test]
    fn what_a_program_needs_is_read_from_its_headers() {
        let needs = Needs::read(&dump("GLIBC_2.34", "0x00"));
        assert_eq!(needs.libraries, ["libgcc_s.so.1", "libc.so.6"]);
        let versions: Vec<_> = needs.versions.iter().map(|v| (v.library.as_str(), v.name.as_str())).collect();
        let libc = "libc.so.6";
        assert_eq!(versions, [("libgcc_s.so.1", "GCC_3.0"), (libc, "GLIBC_2.2.5"), (libc, "GLIBC_2.34")]);
        assert_eq!(needs.newest_glibc(), Some([2, 34]));
        assert_eq!(needs.problems(SIZE, SIZE), [""; 0]);
    }

    #[test]
    fn a_program_that_needs_a_newer_glibc_is_refused() {
        for (version, refused) in
            [("GLIBC_2.34", 0), ("GLIBC_2.35", 1), ("GLIBC_2.4", 0), ("GLIBC_2.100", 1), ("GLIBC_3.0", 1)]
        {
            assert_eq!(problems(&dump(version, "0x00"), SIZE), refused, "{version}");
        }
        for special in ["GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR"] {
            assert_eq!(problems(&dump(special, "0x00"), SIZE), 1, "{special}");
        }
    }

    #[test]
    fn a_version_that_only_weak_symbols_have_is_not_needed() {
        assert_eq!(problems(&dump("GLIBC_2.39", "0x02"), SIZE), 0);
    }

    #[test]
    fn a_library_that_the_packages_do_not_ask_for_is_refused() {
        let text = dump("GLIBC_2.34", "0x00").replace("libgcc_s.so.1\n  NEEDED", "libssl.so.3\n  NEEDED");
        assert_eq!(problems(&text, SIZE), 1);
    }

    #[test]
    fn a_large_program_and_one_that_tells_nothing_are_refused() {
        assert_eq!(problems(&dump("GLIBC_2.34", "0x00"), SIZE + 1), 1);
        assert_eq!(problems("", SIZE), 1);
    }
}
