//! Which addresses may stand, in the cluster's runtime directory: `vip`. A run of the agent with another configuration has to
//! know, or it would leave them behind where nobody looks.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::VipError;
use crate::config::Vip;
use crate::file;
use crate::log::chain;

/// What was remembered, and where.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    known: Option<Vip>,
}

impl Record {
    /// Reads what an earlier run left. What cannot be understood names nothing that could be removed.
    pub(super) fn read(directory: &Path) -> Self {
        let path = directory.join("vip");
        let known = file::read_if_there(&path).and_then(|text| {
            text.map(|text| serde_json::from_str(&text).map_err(std::io::Error::from)).transpose()
        });
        let known = known.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), reason = chain(&error), "virtual addresses of an earlier run are not known");
            None
        });
        Self { path, known }
    }

    /// What may stand.
    pub(super) fn known(&self) -> Option<&Vip> {
        self.known.as_ref()
    }

    /// Lowers what is remembered and not configured any more.
    pub(super) fn forget_all_but(
        &mut self,
        vip: &Vip,
        lower: impl FnOnce(&Vip) -> Result<Vec<IpAddr>, VipError>,
    ) -> Result<(), VipError> {
        let Some(mut stray) = self.known.clone().filter(|known| known != vip) else { return Ok(()) };
        if stray.interface == vip.interface {
            stray.addresses.retain(|address| !vip.addresses.contains(address));
        }
        let lowered = lower(&stray)?;
        if !lowered.is_empty() {
            tracing::warn!(
                addresses = %super::Shown(&lowered),
                interface = stray.interface,
                "removed virtual addresses that are not configured any more"
            );
        }
        // Those that are still configured are written again, or lowered, right after.
        self.known = None;
        Ok(())
    }

    /// Remembers what is about to be added. Where that cannot be kept, only a change of the configuration is the worse for it.
    pub(super) fn write(&mut self, vip: &Vip) {
        if self.known.as_ref() == Some(vip) {
            return;
        }
        let text = serde_json::to_vec(vip).expect("names and addresses are always JSON");
        match file::replace(&self.path, &text) {
            Ok(()) => self.known = Some(vip.clone()),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), reason = chain(&error), "virtual addresses are not remembered");
            }
        }
    }

    /// Nothing stands any more.
    pub(super) fn remove(&mut self) {
        match file::remove(&self.path) {
            Ok(()) => self.known = None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), reason = chain(&error), "virtual addresses are still remembered");
            }
        }
    }
}
