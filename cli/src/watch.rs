//! `baton status --watch`: the same reading again and again, until the reader leaves or interrupts.
//!
//! A table that does not answer for a while is shown as such and asked again; it must not end a watch that somebody
//! started in order to see the end of just that.

use std::time::Duration;

use baton_protocol::ids::ClusterName;
use baton_store::Store;

use crate::args::Format;
use crate::clock::Clock;
use crate::command::Session;
use crate::console::Console;
use crate::exit::Exit;
use crate::output;
use crate::text::moment;
use crate::trouble::Trouble;

/// Puts the cursor home and clears what is below: less flicker than clearing all first.
const HOME: &str = "\u{1b}[H\u{1b}[J";

/// Shows the cluster every `interval`. Ends only with a trouble that asking again cannot end.
pub async fn run<S: Store, W, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    cluster: &ClusterName,
    interval: Duration,
) -> Result<Exit, Trouble> {
    let on_screen = console.look.borders && session.format == Format::Table;
    let mut has_been_seen = false;
    loop {
        let text = match session.snapshot(cluster).await {
            Ok(snapshot) => {
                has_been_seen = true;
                round(
                    &output::status(&snapshot.view(), session.format, console.look)?,
                    session.format,
                    on_screen,
                )
            }
            // What was never read may be a wrong name; what has been read once will be there again.
            Err(trouble) if !has_been_seen || trouble.exit != Exit::Unexpected => return Err(trouble),
            Err(trouble) => {
                let message = trouble.message.unwrap_or_default();
                console.talk(&format!("{}  {message}", moment(session.clock.now())));
                String::new()
            }
        };
        console.data(&text)?;
        session.clock.sleep(interval).await;
    }
}

/// One round: a fresh screen on a terminal, and in a pipe one line per JSON object or a gap between tables.
fn round(text: &str, format: Format, on_screen: bool) -> String {
    match format {
        Format::Table if on_screen => format!("{HOME}{text}"),
        Format::Table => format!("{text}\n"),
        Format::Json | Format::Tsv | Format::Sarif => text.to_owned(),
    }
}
