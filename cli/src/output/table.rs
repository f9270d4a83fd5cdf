//! Tables for people: borders on a terminal, none in a pipe; footers only when they say something.

use std::time::Duration;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, presets,
};

use crate::console::Look;
use crate::rows::{MARGIN, Row, Rows};
use crate::text::{length, seconds, to_second};
use crate::view::{NodeView, State, View, health_word};

/// The narrowest terminal that is honoured. Some report no width at all.
const NARROWEST: u16 = 80;

/// The columns of a history.
const HISTORY: [&str; 5] = ["Time", "Age", "Epoch", "What", "Detail"];

/// A piece of a line that was broken is not shorter than that, however little is left.
const LINE_SHORTEST: usize = 10;

/// The state of a cluster: a title, a row per node, footers.
pub fn status(view: &View, look: Look) -> String {
    let mut table =
        table(look, &["Node", "Instance", "Zone", "Role", "State", "Heartbeat", "Health", "Agent"]);
    for node in &view.nodes {
        table.add_row(vec![
            Cell::new(&node.node),
            Cell::new(&node.instance),
            Cell::new(node.zone.as_deref().unwrap_or("-")),
            Cell::new(node.role.word()),
            Cell::new(node.state.word()).fg(color(node.state)),
            Cell::new(age(node)).set_alignment(CellAlignment::Right),
            Cell::new(node.health.map_or("-", health_word)),
            Cell::new(node.agent_version.as_deref().filter(|version| !version.is_empty()).unwrap_or("-")),
        ]);
    }
    let mut text = title(view);
    text.push_str(&body(&table));
    for (label, footer) in footers(view) {
        text.push_str(&format!("{:<12} {footer}\n", format!("{label}:")));
    }
    text
}

/// What happened to a cluster, newest last.
pub fn history(rows: &Rows, look: Look) -> String {
    if rows.rows.is_empty() {
        return format!("Cluster {}: nothing has happened yet\n", rows.cluster);
    }
    let mut table = table(look, &HISTORY);
    // Only sentences may be broken. The table of nodes stays as wide as it is: half an instance id is no id.
    if let Some(width) = look.width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(NARROWEST));
        table.column_iter_mut().take(4).for_each(|column| {
            column.set_constraint(ColumnConstraint::ContentWidth);
        });
    }
    let columns = |row: &Row| {
        [
            row.at.clone(),
            length(Duration::from_millis(row.age_ms)),
            row.epoch.to_string(),
            row.what.word().to_owned(),
        ]
    };
    let left =
        look.width.map(|width| detail_width(width.max(NARROWEST), look, rows.rows.iter().map(columns)));
    for row in &rows.rows {
        let [at, age, epoch, what] = columns(row);
        let output = row.output().into_iter().flat_map(|line| match (left, line.strip_prefix(MARGIN)) {
            (Some(left), Some(written)) => wrapped(written, left.saturating_sub(MARGIN.len())),
            _ => vec![line],
        });
        table.add_row(vec![
            Cell::new(at),
            Cell::new(age).set_alignment(CellAlignment::Right),
            Cell::new(epoch).set_alignment(CellAlignment::Right),
            Cell::new(what),
            Cell::new([row.detail.clone()].into_iter().chain(output).collect::<Vec<_>>().join("\n")),
        ]);
    }
    body(&table)
}

/// How much of a terminal's width is left to the last column beside the others: a space on each side of every column and a line
/// around it, or two spaces behind it where there are no lines.
fn detail_width(width: u16, look: Look, rows: impl Iterator<Item = [String; 4]>) -> usize {
    let mut widths = HISTORY.map(str::len);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(cell.chars().count());
        }
    }
    let others: usize = widths[..4].iter().sum();
    let lines = if look.borders { HISTORY.len() + 1 } else { 0 };
    usize::from(width).saturating_sub(others + 2 * HISTORY.len() + lines)
}

/// A line of a hook, broken so that each piece bears the margin: without it a piece would read as Baton's own words.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let width = width.max(LINE_SHORTEST);
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for c in line.chars() {
        // Some characters take two places; one too many is no harm.
        let places = if c.is_ascii() { 1 } else { 2 };
        if used + places > width {
            pieces.push(String::new());
            used = 0;
        }
        used += places;
        if let Some(piece) = pieces.last_mut() {
            piece.push(c);
        }
    }
    pieces.into_iter().map(|piece| format!("{MARGIN}{piece}")).collect()
}

pub(super) fn table(look: Look, header: &[&str]) -> Table {
    let mut table = Table::new();
    // What the terminal allows was found out before; a second look in here would see another stream in tests.
    table.force_no_tty();
    table.load_style(if look.borders { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    if look.color {
        table.enforce_styling();
    }
    table.set_header(
        header.iter().map(|name| Cell::new(*name).add_attribute(Attribute::Bold)).collect::<Vec<_>>(),
    );
    if !look.borders {
        // Without lines between them, columns start at the margin and keep two spaces of distance.
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
    }
    table
}

pub(super) fn body(table: &Table) -> String {
    table.trim_fmt() + "\n"
}

fn title(view: &View) -> String {
    let durations = &view.timing.durations;
    format!(
        "Cluster {}: epoch {}, {} mode, {} timing (heartbeat {}, silence {})\n",
        view.cluster,
        view.epoch,
        match view.mode {
            baton_protocol::lease::Mode::Strict => "strict",
            baton_protocol::lease::Mode::Available => "available",
        },
        view.timing.profile,
        seconds(durations.heartbeat_ms),
        seconds(durations.silence_ms),
    )
}

fn footers(view: &View) -> Vec<(&'static str, String)> {
    let mut footers = vec![("Lease", lease(view))];
    if !view.addresses.is_empty() {
        let addresses: Vec<String> = view
            .addresses
            .iter()
            .map(|shown| {
                let seen = match shown.seen_at.as_slice() {
                    [] => String::new(),
                    nodes => format!(", seen at {}", nodes.join(" and ")),
                };
                format!("{} ({}{seen})", shown.address.public_ip, shown.address.allocation)
            })
            .collect();
        footers.push(("Addresses", addresses.join(", ")));
    }
    if !view.routes.is_empty() {
        let routes: Vec<String> = view.routes.iter().map(ToString::to_string).collect();
        footers.push(("Routes", routes.join(", ")));
    }
    if !view.subnets.is_empty() {
        let subnets: Vec<&str> = view.subnets.iter().map(|swapped| swapped.subnet.as_str()).collect();
        footers.push(("Subnets", subnets.join(", ")));
    }
    if let Some(pause) = &view.paused {
        let left = length(Duration::from_millis(pause.remaining_ms));
        footers.push((
            "Paused",
            format!("until {} (in {left}) by {}: {}", to_second(&pause.until), pause.by, pause.why),
        ));
    }
    if let Some(excluded) = &view.excluded {
        let left = length(Duration::from_millis(excluded.remaining_ms));
        let (node, until) = (&excluded.node, to_second(&excluded.until));
        footers.push((
            "Excluded",
            format!("{node} until {until} (in {left}) by {}: {}", excluded.by, excluded.why),
        ));
    }
    if let Some(intent) = &view.intent {
        let left = length(Duration::from_millis(intent.remaining_ms));
        let to = intent.to.as_deref().unwrap_or("the best standby");
        let what = if intent.failover { "let the silent holder be followed by" } else { "hand over to" };
        footers.push((
            "Intent",
            format!("{what} {to} until {} (in {left}): {}", to_second(&intent.until), intent.reason),
        ));
    }
    for node in &view.nodes {
        footers.extend(node.findings.iter().flat_map(|findings| findings.footers(&node.node)));
    }
    for node in
        view.nodes.iter().filter(|node| node.claim.as_ref().is_some_and(|claim| claim.epoch == view.epoch))
    {
        if let Some(claim) = &node.claim {
            let silent = length(Duration::from_millis(claim.silent_ms));
            footers
                .push(("Claim", format!("{} claimed at {} after {silent} of silence", node.node, claim.at)));
        }
    }
    footers.extend(view.problems.iter().map(|problem| match problem.strip_prefix("unprotected: ") {
        Some(why) => ("Unprotected", why.to_owned()),
        None => ("Problem", problem.clone()),
    }));
    footers.push(("Heartbeat", "age by the node's own clock against this machine's".to_owned()));
    footers
}

fn lease(view: &View) -> String {
    let since = view.granted_at.as_deref().map(|at| format!(" since {}", to_second(at))).unwrap_or_default();
    let Some(holder) = &view.holder else { return "held by nobody".to_owned() };
    let moved = match (view.moved, view.granted_at.as_deref()) {
        (true, _) => "addresses moved".to_owned(),
        (false, Some(at)) => format!("moving since {}", to_second(at)),
        (false, None) => "addresses not moved yet".to_owned(),
    };
    format!("held by {holder}{since}, {moved}")
}

fn age(node: &NodeView) -> String {
    match node.heartbeat_age_ms {
        None => "never".to_owned(),
        Some(ms) if ms < -999 => format!("{} ahead", length(Duration::from_millis(ms.unsigned_abs()))),
        Some(ms) => length(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
    }
}

fn color(state: State) -> Color {
    match state {
        State::Serving | State::Ready => Color::Green,
        State::Promoting | State::Released | State::Stopping | State::Draining => Color::Yellow,
        State::Bad | State::Silent | State::Unguarded => Color::Red,
        State::Unknown => Color::Grey,
    }
}
