//! The tables of `docs/PROTOCOL.md` are what the code does.
//!
//! Each table is made by driving the protocol through its public face: every state against every input, every snapshot
//! against the decision. The text that comes out must stand in the document, between the marks of its block. A rule that
//! changes therefore changes a line that people read, and a reviewer sees which.
//!
//! `BLESS=1 cargo test -p baton-protocol --test protocol_document` writes the tables anew.

mod agent;
mod arbiter;
mod document;
mod input;
mod mover;
mod node;
mod own;
mod render;
mod standby;
mod world;

#[test]
fn every_table_of_the_document_is_what_the_code_does() {
    document::holds(&[
        ("timing", render::timing()),
        ("node", node::table()),
        ("standby", standby::table()),
        ("arbiter", arbiter::table()),
        ("mover", mover::table()),
        ("sweep", mover::sweep()),
    ]);
}
