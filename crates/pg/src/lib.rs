//! What both databases need alike: TLS pool, transactions, migrations, partitions
