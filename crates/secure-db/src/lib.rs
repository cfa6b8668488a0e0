//! Every table and SQL statement of clm_secure_db
