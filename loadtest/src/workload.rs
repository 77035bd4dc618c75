//! What a connection asks next: drawn from the mix by a seed, the same each time. It knows which of
//! the connection's sessions are there; their ids are the connection's business.

/// What one connection asks once. Sessions go by their slot in the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A one-off request.
    OneOff {
        /// In this instance.
        instance: usize,
    },
    /// A session is created.
    Create {
        /// In this instance.
        instance: usize,
        /// Whose id is kept here.
        slot: usize,
    },
    /// A session is told its complete set.
    Put {
        /// Of this session.
        slot: usize,
    },
    /// A session is heard of.
    Heartbeat {
        /// This one.
        slot: usize,
    },
    /// A session is closed.
    Close {
        /// This one.
        slot: usize,
    },
}
