use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Address, CommandLine, ExitCodes, User};
use crate::testing::{eventually, is_alive};

const SOON: Duration = Duration::from_secs(20);

/// Checks without virtual addresses.
fn start(checks: Vec<Check>) -> Checks {
    super::start(checks, &Keepers::default())
}

fn check(name: &str, probe: Probe) -> Check {
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_secs(10));
    Check { name: name.to_owned(), probe, interval, timeout, rise: 1, fall: 1, when: When::Always }
}

fn script(text: &str) -> Probe {
    let arguments = ["-c", text].map(str::to_owned).to_vec();
    Probe::Script {
        command: CommandLine { program: "/bin/sh".into(), arguments },
        user: None,
        exit_codes: ExitCodes::Plain,
    }
}

/// A script that does what the file beside it says.
fn exit_code_of(path: &Path) -> Probe {
    script(&format!("exit $(cat {})", path.display()))
}

async fn wait_for(
    report: &mut watch::Receiver<HealthReport>,
    what: impl FnMut(&HealthReport) -> bool,
) -> HealthReport {
    let waited = tokio::time::timeout(SOON, report.wait_for(what)).await.map(|r| r.expect("running").clone());
    waited.unwrap_or_else(|_| panic!("in vain; last: {:?}", report.borrow()))
}

async fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, Address::Literal(address))
}

/// A server that answers every request with this text, and hands out what it was asked.
async fn server(answer: &'static str) -> (Address, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (listener, address) = listener().await;
    let (asked, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let read = stream.read(&mut buffer).await.expect("a request");
            let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
            stream.write_all(answer.as_bytes()).await.expect("answered");
            if asked.send(request).is_err() {
                break;
            }
        }
    });
    (address, requests)
}

async fn ask(answer: &'static str, expect: &[u16]) -> Try {
    let (address, _requests) = server(answer).await;
    http::probe(&address, "orders.example", "/health?full=1", expect).await
}

#[tokio::test]
async fn a_node_without_checks_is_healthy() {
    let checks = start(Vec::new());
    assert_eq!(checks.report().borrow().health, Health::Ok);
}

#[tokio::test]
async fn health_is_unknown_until_every_check_has_spoken() {
    let place = tempfile::tempdir().expect("a directory");
    let gate = place.path().join("gate");
    let late = script(&format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display()));
    let checks = start(vec![check("now", script("exit 0")), check("late", late)]);
    let mut report = checks.report();
    let seen = wait_for(&mut report, |r| r.checks[0].verdict == Verdict::Good).await;
    assert_eq!((seen.health, seen.checks[1].verdict), (Health::Unknown, Verdict::Unknown));
    std::fs::write(&gate, "").expect("opened");
    wait_for(&mut report, |r| r.health == Health::Ok).await;
}

#[tokio::test]
async fn one_bad_check_makes_the_node_bad_and_it_recovers() {
    let place = tempfile::tempdir().expect("a directory");
    let code = place.path().join("code");
    std::fs::write(&code, "0").expect("written");
    let checks = start(vec![check("good", script("exit 0")), check("app", exit_code_of(&code))]);
    let mut report = checks.report();
    wait_for(&mut report, |r| r.health == Health::Ok).await;
    crate::file::replace(&code, b"7").expect("written");
    let bad = wait_for(&mut report, |r| r.health == Health::Bad).await;
    assert_eq!(bad.reason(), "app: exit code 7");
    crate::file::replace(&code, b"0").expect("written");
    wait_for(&mut report, |r| r.health == Health::Ok).await;
}

#[tokio::test]
async fn a_warning_is_shown_and_does_no_harm() {
    let checks = start(vec![check("disk", script("echo 91 percent; exit 1"))]);
    let report = wait_for(&mut checks.report(), |r| r.health == Health::Ok).await;
    assert!(report.checks[0].warning);
    assert_eq!(report.checks[0].output, "91 percent");
}

#[tokio::test]
async fn a_script_that_takes_too_long_is_killed_with_its_children() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("child");
    let mut slow =
        check("slow", script(&format!("sleep 600 & echo $! > {}; echo waiting; wait", path.display())));
    // Long enough for a busy machine to get as far as the word.
    slow.timeout = Duration::from_secs(5);
    slow.interval = Duration::from_secs(600);
    let checks = start(vec![slow]);
    let report = wait_for(&mut checks.report(), |r| r.health == Health::Bad).await;
    assert!(report.checks[0].reason.starts_with("killed after "), "{:?}", report.checks[0]);
    assert_eq!(report.checks[0].output, "waiting");
    let child: i32 = std::fs::read_to_string(&path).expect("read").trim().parse().expect("an id");
    eventually("the child is gone", || !is_alive(child)).await;
}

#[tokio::test]
async fn a_serving_check_speaks_only_while_the_node_serves() {
    let place = tempfile::tempdir().expect("a directory");
    let tried = place.path().join("tried");
    let mut probe = check("app", script(&format!("touch {}; exit 3", tried.display())));
    probe.when = When::Serving;
    let checks = start(vec![probe, check("clock", script("exit 0"))]);
    let mut report = checks.report();
    wait_for(&mut report, |r| r.health == Health::Ok).await;
    assert!(!tried.exists(), "a standby is not asked for a service it must not run");
    checks.turn(Turn::Serving);
    let bad = wait_for(&mut report, |r| r.health == Health::Bad).await;
    assert!(bad.checks[0].running);
    checks.turn(Turn::Standby);
    let rest = wait_for(&mut report, |r| r.health == Health::Ok).await;
    assert_eq!((rest.checks[0].running, rest.checks[0].verdict), (false, Verdict::Unknown));
    assert_eq!(rest.checks[0].reason, "");
}

#[tokio::test]
async fn the_end_of_serving_abandons_a_running_script() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("pid");
    let mut probe =
        check("app", script(&format!("echo $$ > {0}.next; mv {0}.next {0}; sleep 600; :", path.display())));
    (probe.when, probe.timeout) = (When::Serving, Duration::from_secs(600));
    let checks = start(vec![probe]);
    checks.turn(Turn::Serving);
    eventually("the script runs", || path.exists()).await;
    let pid: i32 = std::fs::read_to_string(&path).expect("read").trim().parse().expect("an id");
    checks.turn(Turn::Standby);
    eventually("the script is gone", || !is_alive(pid)).await;
}

#[tokio::test]
async fn dropping_the_checks_ends_them() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("pid");
    let mut probe =
        check("app", script(&format!("echo $$ > {0}.next; mv {0}.next {0}; sleep 600; :", path.display())));
    probe.timeout = Duration::from_secs(600);
    let checks = start(vec![probe]);
    eventually("the script runs", || path.exists()).await;
    let pid: i32 = std::fs::read_to_string(&path).expect("read").trim().parse().expect("an id");
    drop(checks);
    eventually("the script is gone", || !is_alive(pid)).await;
}

#[tokio::test]
async fn a_tcp_check_asks_for_a_connection() {
    let (listener, address) = listener().await;
    assert!(tcp::probe(&address).await.success);
    drop(listener);
    let refused = tcp::probe(&address).await;
    assert!(!refused.success && refused.reason.starts_with("could not connect to 127.0.0.1:"), "{refused:?}");
}

#[tokio::test]
async fn an_http_check_asks_for_what_the_url_says() {
    let (address, mut requests) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    let tried = http::probe(&address, "orders.example", "/health?full=1", &[]).await;
    assert!(tried.success, "{tried:?}");
    let request = requests.recv().await.expect("asked");
    assert!(request.starts_with("GET /health?full=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("\r\nhost: orders.example\r\n"), "{request}");
}

#[tokio::test]
async fn an_http_check_judges_by_the_status() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    const MOVED: &str = "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n";
    const BROKEN: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    assert!(ask(OK, &[]).await.success);
    assert!(!ask(OK, &[204]).await.success);
    assert!(!ask(MOVED, &[]).await.success, "a redirect is not followed");
    assert!(ask(MOVED, &[301, 302]).await.success);
    assert_eq!(ask(BROKEN, &[200, 204]).await.reason, "expected 200 or 204, found 503");
    assert!(!ask("not http at all\r\n\r\n", &[]).await.success);
}

#[tokio::test]
async fn an_http_check_takes_a_head_of_unbounded_length_for_a_failure() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-more: 0123456789012345678901234567890123456789\r\n").await.is_ok() {}
    });
    let tried = tokio::time::timeout(SOON, http::probe(&address, "a", "/", &[])).await.expect("it gives up");
    assert!(!tried.success, "{tried:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_fails_at_the_timeout() {
    let (listener, address) = listener().await;
    let probe = Probe::Http { address, host: "a".to_owned(), target: "/".to_owned(), expect: Vec::new() };
    let tried = one_try(&probe, Duration::from_millis(50), &mut Aside::default()).await;
    assert_eq!(tried.reason, "no answer within 50 ms");
    drop(listener);
}

#[tokio::test]
async fn a_standby_check_speaks_only_on_a_standby_and_nobody_knows_before_it_has() {
    let place = tempfile::tempdir().expect("a directory");
    let code = place.path().join("code");
    std::fs::write(&code, "0").expect("written");
    let mut room = check("room", exit_code_of(&code));
    (room.when, room.rise) = (When::Standby, 2);
    let checks = start(vec![room]);
    let mut report = checks.report();
    assert_eq!(report.borrow().health, Health::Unknown, "it has not spoken");
    wait_for(&mut report, |r| r.health == Health::Ok).await;
    crate::file::replace(&code, b"9").expect("written");
    let bad = wait_for(&mut report, |r| r.health == Health::Bad).await;
    assert_eq!(bad.reason(), "room: exit code 9");
    for other in [Turn::Nobody, Turn::Serving] {
        checks.turn(other);
        let now = report.borrow().clone();
        assert_eq!((now.health, now.checks[0].running), (Health::Ok, false), "from this moment on");
        checks.turn(Turn::Standby);
        assert_eq!(report.borrow().health, Health::Unknown, "it begins anew");
        wait_for(&mut report, |r| r.health == Health::Bad).await;
    }
}

#[tokio::test]
async fn what_an_earlier_turn_finds_is_not_heard() {
    let mut probe = check("app", script("exit 0"));
    probe.when = When::Serving;
    let checks = start(Vec::new());
    checks.report.send_modify(|report| *report = HealthReport::new(std::slice::from_ref(&probe)));
    let reporter = Reporter { index: 0, sender: checks.report.clone() };
    checks.turn(Turn::Serving);
    let mut debounce = Debounce::new(1, 1);
    reporter.tried(1, &probe, Try::bad("broken"), &mut debounce);
    assert_eq!(checks.report().borrow().health, Health::Bad);
    checks.turn(Turn::Nobody);
    reporter.tried(1, &probe, Try::bad("broken"), &mut debounce);
    assert_eq!(checks.report().borrow().health, Health::Ok);
    checks.turn(Turn::Serving);
    reporter.tried(1, &probe, Try::bad("broken"), &mut debounce);
    assert_eq!(checks.report().borrow().service(), Said::Undecided, "a fresh chance");
    reporter.tried(3, &probe, Try::bad("broken"), &mut debounce);
    assert_eq!(checks.report().borrow().service(), Said::Bad("app: broken".to_owned()));
}

#[tokio::test]
async fn the_checks_of_the_service_and_the_others_are_told_apart() {
    let mut app = check("app", script("exit 3"));
    app.when = When::Serving;
    let checks = start(vec![app, check("clock", script("echo late; exit 1"))]);
    let mut report = checks.report();
    let standing_by = wait_for(&mut report, |r| r.health == Health::Ok).await;
    assert_eq!((standing_by.service(), standing_by.others()), (Said::Undecided, Health::Ok));
    assert_eq!(standing_by.warnings(), "clock: exit code 1: a warning");
    checks.turn(Turn::Serving);
    let bad = wait_for(&mut report, |r| r.health == Health::Bad).await;
    assert_eq!((bad.service(), bad.others()), (Said::Bad("app: exit code 3".to_owned()), Health::Ok));
    assert_eq!(bad.reason(), "app: exit code 3", "a warning does no harm");
}

#[tokio::test]
async fn a_script_runs_as_its_user_and_with_none_of_the_agents_groups() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let Probe::Script { command, exit_codes, .. } = script("echo $(id -u) $(id -G)") else {
        panic!("a script")
    };
    let nobody = nix::unistd::User::from_name("nobody").expect("asked").expect("every machine has it");
    let probe = Probe::Script { command, user: Some(User("nobody".to_owned())), exit_codes };
    let tried = one_try(&probe, SOON, &mut Aside::default()).await;
    assert_eq!(tried.output, format!("{} {}", nobody.uid, nobody.gid), "{tried:?}");
}
