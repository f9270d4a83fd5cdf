//! QEMU's monitor: what a hypervisor may do to a machine, and what it tells of one.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::wait::until;

/// A connection to it.
#[derive(Debug)]
pub(super) struct Monitor {
    requests: UnixStream,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Monitor {
    /// Connects, once the socket is there.
    pub(super) fn connect(socket: &Path) -> Result<Self, Box<dyn Error>> {
        let requests = until("QEMU's monitor", || Ok(UnixStream::connect(socket).ok()))?;
        let lines = BufReader::new(requests.try_clone()?).lines();
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        // Ends with QEMU, which closes the other end.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::Null);
                into.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            }
        });
        let mut monitor = Self { requests, told };
        monitor.order("qmp_capabilities")?;
        Ok(monitor)
    }

    /// Has a command carried out.
    pub(super) fn order(&mut self, command: &str) -> Result<(), Box<dyn Error>> {
        let from = self.mark();
        writeln!(self.requests, "{}", json!({ "execute": command }))?;
        until(&format!("QEMU's answer to `{command}`"), || {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            match told
                .iter()
                .skip(from)
                .find(|value| value["return"].is_object() || value["error"].is_object())
            {
                Some(answer) if answer["error"].is_object() => {
                    Err(format!("QEMU refused `{command}`: {}", answer["error"]).into())
                }
                answer => Ok(answer.map(|_| ())),
            }
        })
    }

    /// From where on events are new.
    pub(super) fn mark(&self) -> usize {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for an event that was told of since the mark.
    pub(super) fn event(&self, name: &str, since: usize) -> Result<(), Box<dyn Error>> {
        until(&format!("QEMU's event {name}"), || {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(told.iter().skip(since).any(|value| value["event"] == json!(name)).then_some(()))
        })
    }
}
