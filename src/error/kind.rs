//! Kinds of failure and their exit codes.

/// What a failure means to whoever started the program. Each kind has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line asks for something impossible.
    Usage,
    /// An input is wrong and will stay wrong.
    BadInput,
    /// Reading or writing failed; the same command may work later.
    Io,
    /// The command worked, and its answer is no.
    No,
    /// The command worked, and the result failed a gate that the user set.
    FailedGate,
    /// A bug in this program.
    Internal,
    /// Stopped by Ctrl-C or a termination signal.
    Interrupted,
}

impl Kind {
    /// All kinds, the least severe first. A batch exits with the code of its most severe failure.
    pub const BY_SEVERITY: [Kind; 7] =
        [Kind::No, Kind::FailedGate, Kind::Usage, Kind::BadInput, Kind::Io, Kind::Internal, Kind::Interrupted];

    /// The place in [`Self::BY_SEVERITY`].
    pub fn severity(self) -> usize {
        Self::BY_SEVERITY.iter().position(|&kind| kind == self).unwrap_or(0)
    }

    /// The kind with this exit code, if one has it.
    pub fn of_exit_code(code: u8) -> Option<Kind> {
        Self::BY_SEVERITY.into_iter().find(|kind| kind.exit_code() == code)
    }

    /// Whether the command itself worked.
    pub fn is_refusal(self) -> bool {
        matches!(self, Kind::No | Kind::FailedGate)
    }

    /// The name in logs, which never changes.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::BadInput => "bad-input",
            Kind::Io => "io",
            Kind::No => "no",
            Kind::FailedGate => "failed-gate",
            Kind::Internal => "internal",
            Kind::Interrupted => "interrupted",
        }
    }

    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::BadInput => 3,
            Kind::Io => 4,
            Kind::No => 5,
            Kind::FailedGate => 6,
            Kind::Internal => 70,
            Kind::Interrupted => 130,
        }
    }
}
