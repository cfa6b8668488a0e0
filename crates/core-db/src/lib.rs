//! Every table and SQL statement of clm_core_db
