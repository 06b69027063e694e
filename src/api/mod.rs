//! Requests of clients: one file per Kafka API, and the one table that says which are served.
//!
//! Produce and Fetch run without a task of their own and park in the shard; everything else is an
//! async handler that the driver runs as a task, one at a time per connection.

pub mod add_offsets_to_txn; // 25
pub mod add_partitions_to_txn; // 24
pub mod add_raft_voter; // 80
pub mod allocate_producer_ids; // 67
pub mod alter_configs; // 33
pub mod alter_partition; // 56
pub mod alter_partition_reassignments; // 45
pub mod alter_replica_log_dirs; // 34
pub mod alter_share_group_offsets; // 91
pub mod answers; // what several handlers answer alike
pub mod api_versions; // 18
pub mod assign_replicas_to_dirs; // 73
pub mod broker_heartbeat; // 63
pub mod broker_registration; // 62
pub mod brokers; // which brokers a client sees
pub mod consumer_group_describe; // 69
pub mod consumer_group_heartbeat; // 68
pub mod context; // what a handler knows of its request
pub mod controllers; // what a controller by itself serves
pub mod create_acls; // 30
pub mod create_partitions; // 37
pub mod create_topics; // 19
pub mod delete_acls; // 31
pub mod delete_groups; // 42
pub mod delete_records; // 21
pub mod delete_share_group_offsets; // 92
pub mod delete_share_group_state; // 86, between brokers
pub mod delete_topics; // 20
pub mod describe_acls; // 29
pub mod describe_brokers; // ours
pub mod describe_cluster; // 60
pub mod describe_configs; // 32
pub mod describe_groups; // 15
pub mod describe_latency; // ours
pub mod describe_log_dirs; // 35
pub mod describe_producers; // 61
pub mod describe_quorum; // 55
pub mod describe_share_group_offsets; // 90
pub mod describe_topic_partitions; // 75
pub mod describe_transactions; // 65
pub mod dispatch; // frames to handlers; the table of APIs and versions
pub mod elect_leaders; // 43
pub mod end_txn; // 26
pub mod fetch; // 1
pub mod find_coordinator; // 10
mod forward; // to the active controller
pub mod heartbeat; // 12
pub mod incremental_alter_configs; // 44
pub mod init_producer_id; // 22
pub mod initialize_share_group_state; // 83, between brokers
pub mod join_group; // 11
pub mod leave_group; // 13
pub mod list_config_resources; // 74
pub mod list_groups; // 16
pub mod list_offsets; // 2
pub mod list_partition_reassignments; // 46
pub mod list_transactions; // 66
pub mod metadata; // 3
pub mod offset_commit; // 8
pub mod offset_delete; // 47
pub mod offset_fetch; // 9
pub mod offset_for_leader_epoch; // 23
pub mod peer; // other brokers
pub mod produce; // 0
pub mod read_share_group_state; // 84, between brokers
pub mod read_share_group_state_summary; // 87, between brokers
pub mod remove_raft_voter; // 81
pub mod share_acknowledge; // 79
pub mod share_fetch; // 78
pub mod share_group_describe; // 77
pub mod share_group_heartbeat; // 76
pub mod share_requests; // what both have in common
pub mod share_states; // what the requests for their state have in common
pub mod sync_group; // 14
pub mod transactions; // what transactional requests share
pub mod txn_offset_commit; // 28
pub mod unregister_broker; // 64
pub mod update_features; // 57
pub mod write_share_group_state; // 85, between brokers
pub mod write_txn_markers; // 27
