//! What will happen, in order. Of two things at one moment the one that was scheduled first comes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Real;

/// A queue of events by time. The heap holds numbers only, since events are large and are sifted often.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<(Real, u32, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    scheduled: u32,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::with_capacity(64),
            slots: Vec::with_capacity(64),
            free: Vec::new(),
            scheduled: 0,
        }
    }
}

impl<E> Queue<E> {
    /// Schedules an event.
    pub(crate) fn push(&mut self, at: Real, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                u32::try_from(self.slots.len() - 1).expect("a run has few events under way")
            }
        };
        self.scheduled = self.scheduled.wrapping_add(1);
        self.heap.push(Reverse((at, self.scheduled, slot)));
    }

    /// Takes the next event, with its time.
    pub(crate) fn pop(&mut self) -> Option<(Real, E)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let event = self.slots[slot as usize].take().expect("a scheduled event is there until it is taken");
        Some((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_the_order_of_their_scheduling() {
        let mut queue = Queue::default();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            queue.push(at, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }
}
