//! Role-based access control.
