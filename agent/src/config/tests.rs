use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

const GOOD: &str = r#"
    table = "baton-test"
    region = "eu-west-1"
    [cluster.orders]
    runtime-directory = "/run/elsewhere"
    shutdown = "stay"
    [cluster.orders.hooks]
    promote = { command = ["/usr/bin/promote", "now"], timeout = "1m30s" }
    demote = { command = ["/usr/bin/demote"], timeout = "5s" }
    [cluster.orders.service]
    pid-file = "/run/orders/service.pid"
    [cluster.orders.check.web]
    http = { url = "http://127.0.0.1:8080/health", expect = [200, 204] }
    interval = "500ms"
    timeout = "400ms"
    rise = 1
    fall = 5
    when = "serving"
    [cluster.nat]
"#;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn a_good_file_becomes_what_it_says() {
    let config = parse("agent.toml", GOOD).unwrap_or_else(|e| panic!("{}", render(&e, false)));
    assert_eq!((config.table.as_str(), config.bus.as_str()), ("baton-test", "baton"));
    assert_eq!(config.region.as_deref(), Some("eu-west-1"));
    let [nat, orders] = config.clusters.as_slice() else { panic!("two clusters") };
    assert_eq!((nat.name.as_str(), nat.directory.as_path()), ("nat", Path::new("/run/baton/nat")));
    assert_eq!((nat.shutdown, &nat.promote, nat.checks.len()), (Shutdown::Handover, &None, 0));
    assert_eq!(orders.directory, Path::new("/run/elsewhere/orders"));
    assert_eq!(orders.shutdown, Shutdown::Stay);
    let promote = orders.promote.as_ref().expect("a hook");
    assert_eq!(promote.timeout, Duration::from_secs(90));
    let Act::Command(command) = &promote.act else { panic!("{:?}", promote.act) };
    assert_eq!(command.arguments, ["now"]);
    assert_eq!(orders.service, Some(Service::PidFile("/run/orders/service.pid".into())));
    let web = &orders.checks[0];
    assert_eq!((web.name.as_str(), web.rise, web.fall, web.when), ("web", 1, 5, When::Serving));
    assert_eq!((web.interval, web.timeout), (Duration::from_millis(500), Duration::from_millis(400)));
    let Probe::Http { address, host, target, expect } = &web.probe else { panic!("{:?}", web.probe) };
    assert_eq!(address.to_string(), "127.0.0.1:8080");
    assert_eq!(
        (host.as_str(), target.as_str(), expect.as_slice()),
        ("127.0.0.1:8080", "/health", &[200, 204][..])
    );
}

#[test]
fn version_1_of_the_metadata_is_an_operators_choice_and_warned_of() {
    let of = |text: &str| parse("agent.toml", text).expect("valid").imds;
    assert_eq!(of("[cluster.a]\n"), Imds::V2);
    assert_eq!(of("imds = \"v2\"\n[cluster.a]\n").warning(), None);
    let chosen = of("imds = \"v1\"\n[cluster.a]\n");
    assert!(chosen == Imds::V1 && chosen.warning().is_some_and(|text| text.contains("credentials")));
}

#[test]
fn what_a_check_leaves_out_has_a_default() {
    let text = "[cluster.a.check.db]\ntcp = { address = \"localhost:5432\" }\n";
    let config = parse("agent.toml", text).expect("valid");
    let db = &config.clusters[0].checks[0];
    assert_eq!((db.interval, db.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    assert_eq!((db.rise, db.fall, db.when), (2, 3, When::Always));
}

#[test]
fn a_hook_may_be_a_unit() {
    let hook = "{ unit = \"haproxy.service\", timeout = \"30s\" }";
    let text = format!("[cluster.a.hooks]\npromote = {hook}\ndemote = {hook}\n");
    let config = parse("agent.toml", &text).unwrap_or_else(|e| panic!("{}", render(&e, false)));
    let expected = Hook { act: Act::Unit("haproxy.service".to_owned()), timeout: Duration::from_secs(30) };
    assert_eq!(config.clusters[0].promote, Some(expected.clone()));
    assert_eq!(config.clusters[0].demote, Some(expected));
}

#[test]
fn each_kind_of_check_becomes_what_it_says() {
    let kind = |text: &str| {
        let text = format!("[cluster.a.check.x]\n{text}\n");
        let config = parse("agent.toml", &text).unwrap_or_else(|e| panic!("{}", render(&e, false)));
        config.clusters[0].checks[0].clone()
    };
    let unit = "getty@tty1.service".to_owned();
    assert_eq!(kind(r#"systemd = { unit = "getty@tty1.service" }"#).probe, Probe::Systemd { unit });
    let process = |pid_file: Option<&str>, name: Option<&str>| Probe::Process {
        pid_file: pid_file.map(Into::into),
        command_name: name.map(str::to_owned),
    };
    assert_eq!(kind(r#"process = { pid-file = "/run/a.pid" }"#).probe, process(Some("/run/a.pid"), None));
    assert_eq!(kind(r#"process = { command-name = "a b" }"#).probe, process(None, Some("a b")));
    let both = kind(r#"process = { pid-file = "/run/a.pid", command-name = "a" }"#);
    assert_eq!(both.probe, process(Some("/run/a.pid"), Some("a")));
    let memory = kind("memory = { available-at-least = \"10%\" }\nwhen = \"standby\"");
    assert_eq!(
        (memory.probe, memory.when),
        (Probe::Memory { available_at_least: Percent(10) }, When::Standby)
    );
    let disk = Probe::Disk { path: "/srv".into(), free_at_least: Percent(5) };
    assert_eq!(kind(r#"disk = { path = "/srv", free-at-least = "5 %" }"#).probe, disk);
    assert_eq!(
        kind(r#"cpu = { waiting-at-most = "99%" }"#).probe,
        Probe::Cpu { waiting_at_most: Percent(99) }
    );
    for (given, per_cpu_at_most) in [("4", 400), ("0.1", 10), ("1.25", 125), ("1000", 100_000)] {
        let load = kind(&format!("load = {{ per-cpu-at-most = {given} }}"));
        assert_eq!(load.probe, Probe::Load { per_cpu_at_most }, "{given}");
    }
    let codes = |text: &str| match kind(text).probe {
        Probe::Script { exit_codes, .. } => exit_codes,
        other => panic!("{other:?}"),
    };
    assert_eq!(codes(r#"script = { command = ["/bin/x"] }"#), ExitCodes::Plain);
    assert_eq!(codes(r#"script = { command = ["/bin/x"], exit-codes = "ocf" }"#), ExitCodes::Ocf);
}

#[test]
fn a_recover_hook_has_a_limit_and_counts_as_a_hook() {
    let text = |limit: &str| {
        format!(
            "[cluster.a.hooks]\nrecover = {{ command = [\"/bin/mend\"], timeout = \"9s\" }}\n{limit}\n\
             [cluster.a.check.x]\ntcp = {{ address = \"127.0.0.1:1\" }}\nwhen = \"serving\"\n"
        )
    };
    let recover = |limit: &str| {
        let config = parse("agent.toml", &text(limit)).unwrap_or_else(|e| panic!("{}", render(&e, false)));
        assert_eq!(config.summary(), "cluster a (1 hooks, 1 checks)");
        config.clusters[0].recover.clone().expect("a hook")
    };
    let default = recover("");
    assert_eq!((default.limit.times, default.limit.within), (3, Duration::from_secs(600)));
    assert_eq!(default.hook.timeout, Duration::from_secs(9));
    let given = recover("recover-limit = { times = 1, within = \"1h\" }").limit;
    assert_eq!((given.times, given.within), (1, Duration::from_secs(3_600)));
}

/// Each `bad-NAME.toml` is refused with exactly the text in `bad-NAME.expected`. With `UPDATE_EXPECTED` set,
/// the texts are written anew, to be read as a difference.
#[test]
fn every_bad_file_is_refused_with_its_message() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(fixtures()).expect("the fixtures") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("plain names").to_owned();
        if !name.starts_with("bad-") || !name.ends_with(".toml") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).expect("read");
        let refused = parse(&name, &text).expect_err(&name);
        let found = render(&refused, false);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path.with_extension("expected"), &found).expect("written");
        }
        let expected = std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
        if found != expected {
            wrong.push(format!("== {name}: expected\n{expected}== found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 20, "found only {seen} fixtures");
}

#[test]
fn the_example_that_is_shipped_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/agent.toml");
    let loaded = load(&path, &Environment::none());
    loaded.unwrap_or_else(|e| panic!("{}", render(&e, false)));
}

/// A directory with a configuration and an executable command, both as safe as root wants them.
fn machine() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let place = tempfile::tempdir().expect("a directory");
    let program = place.path().join("check");
    std::fs::write(&program, "#!/bin/sh\n").expect("written");
    mode(&program, 0o755);
    let path = place.path().join("agent.toml");
    let text =
        format!("[cluster.a.check.x]\nscript = {{ command = [{:?}] }}\n", program.display().to_string());
    std::fs::write(&path, text).expect("written");
    mode(&path, 0o644);
    (place, path, program)
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
}

fn codes(path: &Path, root: bool) -> Vec<&'static str> {
    match load(path, &Environment { present: true, root }) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Invalid(problems)) => problems.iter().map(Problem::code).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_command_must_be_there_and_executable() {
    let (_place, path, program) = machine();
    assert_eq!(codes(&path, false), [""; 0]);
    mode(&program, 0o644);
    assert_eq!(codes(&path, false), ["config::command::not-executable"]);
    std::fs::remove_file(&program).expect("ours");
    assert_eq!(codes(&path, false), ["config::command::missing"]);
}

#[test]
fn root_trusts_only_what_nobody_else_can_change() {
    let (place, path, program) = machine();
    let running_as_root = nix::unistd::Uid::effective().is_root();
    if running_as_root {
        assert_eq!(codes(&path, true), [""; 0]);
        mode(&program, 0o757);
        assert_eq!(codes(&path, true), ["config::command::permissions"]);
        assert_eq!(codes(&path, false), [""; 0], "without root the command has no rights to give away");
        mode(&program, 0o755);
        mode(&path, 0o666);
        assert_eq!(codes(&path, true), ["config::permissions"]);
        mode(&path, 0o644);
        mode(place.path(), 0o777);
        assert_eq!(codes(&path, true), ["config::permissions", "config::command::permissions"]);
        mode(place.path(), 0o1777);
        assert_eq!(codes(&path, true), [""; 0], "in a sticky directory nobody replaces the file of another");
        nix::unistd::chown(&program, Some(nix::unistd::Uid::from_raw(12345)), None).expect("as root");
        assert_eq!(codes(&path, true), ["config::command::permissions"]);
    } else {
        // What belongs to the user who runs this test does not belong to root.
        assert_eq!(codes(&path, true), ["config::permissions", "config::command::permissions"]);
    }
}

#[test]
fn root_does_not_follow_a_link_that_another_could_replace() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let (place, path, program) = machine();
    let open = place.path().join("open");
    std::fs::create_dir(&open).expect("made");
    std::os::unix::fs::symlink(&program, open.join("link")).expect("linked");
    std::os::unix::fs::symlink("./open/../open/link", place.path().join("way")).expect("linked");
    let text = |program: &Path| {
        let text =
            format!("[cluster.a.check.x]\nscript = {{ command = [{:?}] }}\n", program.display().to_string());
        std::fs::write(&path, text).expect("written");
    };
    for through in [open.join("link"), place.path().join("way")] {
        text(&through);
        mode(&open, 0o755);
        assert_eq!(codes(&path, true), [""; 0], "{through:?}");
        mode(&open, 0o777);
        assert_eq!(codes(&path, true), ["config::command::permissions"], "{through:?}");
    }
    mode(&open, 0o755);
    let round = place.path().join("round");
    std::os::unix::fs::symlink(&round, &round).expect("linked");
    text(&round);
    assert_eq!(codes(&path, true), ["config::command::missing"]);
}

#[test]
fn a_user_of_a_check_must_exist() {
    let text = |user: &str| {
        format!("[cluster.a.check.x]\nscript = {{ command = [\"/bin/true\"], user = \"{user}\" }}\n")
    };
    let (_place, path, _program) = machine();
    std::fs::write(&path, text("root")).expect("written");
    assert_eq!(codes(&path, false), [""; 0]);
    std::fs::write(&path, text("nobody-of-that-name")).expect("written");
    assert_eq!(codes(&path, false), ["config::check::user"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let refused = load(Path::new("/nonexistent/agent.toml"), &Environment::here()).expect_err("not there");
    assert!(render(&refused, false).contains("`/nonexistent/agent.toml`"), "{refused}");
}
