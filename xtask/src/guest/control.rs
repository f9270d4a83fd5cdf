//! The line to the guest: scripts in, what they said out.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::wait::{LIMIT, until};

/// A serial line, of which the other end runs `inside/control.sh`.
#[derive(Debug)]
pub(super) struct Control {
    line: UnixStream,
    heard: String,
    asked: u32,
}

impl Control {
    /// Connects, once the socket is there.
    pub(super) fn connect(socket: &Path) -> Result<Self, Box<dyn Error>> {
        let line = until("the guest's serial line", || Ok(UnixStream::connect(socket).ok()))?;
        line.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { line, heard: String::new(), asked: 0 })
    }

    /// Waits until the guest is up; the id of its boot.
    pub(super) fn ready(&mut self) -> Result<String, Box<dyn Error>> {
        self.until_line("the guest", |line| Some(line.strip_prefix("ready ")?.to_owned()))
    }

    /// Runs a script in the guest and gives what it said, without the end of the last line. That it fails is an error.
    pub(super) fn run(&mut self, script: &str) -> Result<String, Box<dyn Error>> {
        match self.ask(script)? {
            (0, said) => Ok(said),
            (exit, said) => Err(format!("`{script}` ended with {exit} in the guest: {said}").into()),
        }
    }

    /// Runs a script in the guest; its exit code, and what it said.
    pub(super) fn ask(&mut self, script: &str) -> Result<(i32, String), Box<dyn Error>> {
        self.asked += 1;
        let begin = format!("{} ", self.asked);
        writeln!(self.line, "{begin}{}", base64(&["--wrap=0"], script.as_bytes())?)?;
        let (exit, said) = self.until_line(&format!("the end of `{script}` in the guest"), |line| {
            let (exit, said) = line.strip_prefix(&begin)?.split_once(' ')?;
            Some((exit.parse::<i32>().ok()?, said.to_owned()))
        })?;
        Ok((exit, base64(&["--decode"], said.as_bytes())?.trim_end().to_owned()))
    }

    fn until_line<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Box<dyn Error>> {
        let begun = Instant::now();
        let mut bytes = [0; 4096];
        while begun.elapsed() < LIMIT {
            while let Some((line, rest)) = self.heard.split_once('\n') {
                let (found, rest) = (look(line.trim_end_matches('\r')), rest.to_owned());
                self.heard = rest;
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            match self.line.read(&mut bytes) {
                Ok(0) => return Err(format!("QEMU ended while {what} was waited for").into()),
                Ok(length) => self.heard.push_str(&String::from_utf8_lossy(&bytes[..length])),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(format!("{what} was not heard of within {} s", LIMIT.as_secs()).into())
    }
}

/// By the program of the same name, which every Debian has.
fn base64(arguments: &[&str], bytes: &[u8]) -> Result<String, Box<dyn Error>> {
    let mut child =
        Command::new("base64").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or("stdin is piped")?;
    let bytes = bytes.to_owned();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "the writer ended")??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let text = "a 'quoted' \"word\"\nand another line\n";
        let coded = base64(&["--wrap=0"], text.as_bytes()).expect("it runs");
        assert!(!coded.contains('\n'));
        assert_eq!(base64(&["--decode"], coded.as_bytes()).expect("it runs"), text);
    }
}
