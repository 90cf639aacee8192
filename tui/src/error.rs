//! What can go wrong in the console. Absent: anything the plant does wrong, which is shown.

/// Why the console could not run.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// The terminal refused raw mode, the alternate screen or a write.
    #[error("drive the terminal: {0}")]
    Terminal(#[source] std::io::Error),
    /// The output of the line mode refused a write (a closed pipe, a full disk).
    #[error("write a line: {0}")]
    Line(#[source] std::io::Error),
}
