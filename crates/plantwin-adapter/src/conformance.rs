//! The conformance kit: what every protocol must do, run by each adapter's tests.
