//! The public operations; see the table.
