//! The licences of everything that is linked into a package's programs, in one text.
//!
//! Each crate brings its licence files; a text that several bring stands once. A crate without any is named with the text of
//! the licence that its manifest states, where that text is known here, and is an error otherwise: a package is never made
//! with a notice missing.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use baton_sandbox::binaries::workspace;
use serde::Deserialize;

use crate::tools;

/// How the names of files begin that a licence may ask to be passed on, in upper case.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// The largest such file in the tree has 35 KB. More is not a licence.
const LARGEST: u64 = 256 * 1024;

const MIT: &str = include_str!("MIT.txt");

/// Something that is linked into the programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Linked {
    name: String,
    version: String,
    license: String,
    /// What its files say, and nothing if it has none.
    texts: Vec<String>,
}

/// The notices of a package.
pub(crate) fn of(package: &str) -> Result<String, Box<dyn Error>> {
    let apache = std::fs::read_to_string(workspace().join("LICENSE"))?;
    let mut linked = crates(package)?;
    let version = tools::said(std::process::Command::new("rustc").arg("--version"))?;
    linked.push(Linked {
        name: "the standard library of Rust".to_owned(),
        version: version.split_whitespace().nth(1).unwrap_or_default().to_owned(),
        license: "MIT OR Apache-2.0".to_owned(),
        texts: Vec::new(),
    });
    write(package, &linked, &apache)
}

/// What cargo says about a package of the graph.
#[derive(Debug, Deserialize)]
struct Described {
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<PathBuf>,
    manifest_path: PathBuf,
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Described>,
}

/// The crates that are linked into the package's programs, without our own.
fn crates(package: &str) -> Result<Vec<Linked>, Box<dyn Error>> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut metadata = tools::cargo();
    metadata.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &platform]);
    let metadata: Metadata = serde_json::from_str(&tools::said(&mut metadata)?)?;
    let mut tree = tools::cargo();
    tree.args(["tree", "--locked", "--package", package, "--edges", "normal,no-proc-macro"]);
    tree.args(["--prefix", "none", "--format", "{p}", "--target", &platform]);
    let mut linked = Vec::new();
    for (name, version) in names(&tools::said(&mut tree)?) {
        let described = metadata.packages.iter().find(|it| it.name == name && it.version == version);
        let described = described.ok_or_else(|| format!("cargo does not describe {name} {version}"))?;
        if described.source.is_none() {
            continue;
        }
        let license = described.license.clone().unwrap_or_default();
        linked.push(Linked { name, version, license, texts: texts(described)? });
    }
    Ok(linked)
}

/// Names and versions from the lines of `cargo tree`, each once: `name v1.2.3`, and perhaps a place or `(*)`.
fn names(tree: &str) -> BTreeSet<(String, String)> {
    let named = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.next()?.strip_prefix('v')?.to_owned()))
    };
    tree.lines().filter_map(named).collect()
}

/// The licence files of a crate, in the order of their names.
fn texts(described: &Described) -> Result<Vec<String>, Box<dyn Error>> {
    let directory = described.manifest_path.parent().ok_or("a manifest stands in a directory")?;
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if NAMES.iter().any(|begin| name.starts_with(begin)) && entry.path().is_file() {
            files.insert(entry.path());
        }
    }
    files.extend(described.license_file.iter().map(|file| directory.join(file)));
    files.iter().map(|file| text(file)).collect()
}

fn text(file: &Path) -> Result<String, Box<dyn Error>> {
    let size = std::fs::metadata(file)?.len();
    if size > LARGEST {
        return Err(format!("{} has {size} bytes, expected at most {LARGEST}", file.display()).into());
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(text.replace("\r\n", "\n").trim_matches('\n').to_owned())
}

/// The text of a licence that a crate states and does not bring.
fn known<'a>(license: &str, apache: &'a str) -> Option<&'a str> {
    let mut choices = license.split('/').flat_map(|part| part.split(" OR ")).map(str::trim);
    choices.find_map(|choice| match choice {
        "Apache-2.0" => Some(apache),
        "MIT" => Some(MIT),
        _ => None,
    })
}

/// The whole text.
fn write(package: &str, linked: &[Linked], apache: &str) -> Result<String, Box<dyn Error>> {
    let mut bringers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut list = String::new();
    let mut unlicensed = Vec::new();
    let mut linked = linked.to_vec();
    linked.sort();
    for Linked { name, version, license, texts } in &linked {
        let shown = format!("{name} {version}");
        let own: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let texts = if own.is_empty() { known(license, apache).into_iter().collect() } else { own };
        if texts.is_empty() {
            unlicensed.push(format!("{shown} ({license})"));
        }
        writeln!(list, "  {shown}: {license}")?;
        for text in texts {
            bringers.entry(text.trim_matches('\n').to_owned()).or_default().insert(shown.clone());
        }
    }
    if !unlicensed.is_empty() {
        let list = unlicensed.join(", ");
        return Err(format!("no licence file and no known text: {list}; add the text to notices.rs").into());
    }
    let mut whole = format!(
        "The programs of the package {package} are licensed under the Apache License, version 2.0.\n\
         Linked into them, under the licences that follow:\n\n{list}"
    );
    let line = "-".repeat(100);
    for (text, names) in bringers {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        write!(whole, "\n{line}\n{names}\n{line}\n\n{text}\n")?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(name: &str, license: &str, texts: &[&str]) -> Linked {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        Linked { name: name.to_owned(), version: "1.0.0".to_owned(), license: license.to_owned(), texts }
    }

    #[test]
    fn each_text_stands_once_with_all_who_bring_it() {
        let all = [linked("b", "MIT", &["text one"]), linked("a", "MIT", &["text one", "text two"])];
        let written = write("p", &all, "apache").expect("licensed");
        assert_eq!(written.matches("text one").count(), 1, "{written}");
        assert!(written.contains("a 1.0.0, b 1.0.0\n"), "{written}");
        assert!(written.contains("text two"), "{written}");
        let other_way_round = [all[1].clone(), all[0].clone()];
        assert_eq!(written, write("p", &other_way_round, "apache").expect("licensed"));
    }

    #[test]
    fn a_crate_without_a_file_gets_the_text_of_a_licence_that_it_states() {
        for (license, expected) in [
            ("MIT", "Permission is hereby granted"),
            ("Apache-2.0", "the apache text"),
            ("Zlib OR Apache-2.0", "the apache text"),
            ("MIT/Apache-2.0", "Permission is hereby granted"),
        ] {
            let written = write("p", &[linked("a", license, &[])], "the apache text").expect("licensed");
            assert!(written.contains(expected), "{license}: {written}");
        }
    }

    #[test]
    fn a_crate_with_neither_file_nor_known_text_is_an_error_that_names_it() {
        for license in ["ISC", "", "MIT AND ISC"] {
            let refused = write("p", &[linked("a", license, &[]), linked("b", "MIT", &[])], "apache");
            let refused = refused.expect_err(license).to_string();
            assert!(refused.contains("a 1.0.0") && !refused.contains("b 1.0.0"), "{refused}");
        }
        assert!(write("p", &[linked("a", "ISC", &[""])], "apache").is_err(), "an empty file is none");
    }

    #[test]
    fn names_are_read_from_the_tree_once() {
        let tree = "a v1.0.0 (/somewhere/a)\nb v2.1.0\nb v2.1.0 (*)\n\nb v3.0.0\n";
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let expected = BTreeSet::from([pair("a", "1.0.0"), pair("b", "2.1.0"), pair("b", "3.0.0")]);
        assert_eq!(names(tree), expected);
    }
}
