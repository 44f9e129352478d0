//! What people see: bars, plain lines, JSON lines, reports.
