//! What a failed write may have left behind.

use std::time::Duration;

use evanesce_topology::GroupMode;
use tokio::net::TcpListener;

use super::*;
use crate::core::tests::{core, topology};

/// What was seen in review: a delete that no zone took said that it was applied nowhere, though it was on its way to
/// a server group that is only written.
#[tokio::test]
async fn change_that_a_write_only_group_may_have_is_maybe_applied() {
    let filling = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let [filling_at, gone_at] = [&filling, &gone].map(|one| one.local_addr().expect("it is bound"));
    drop(gone);
    let mut topology = topology(1, &format!("a=n1/{gone_at};b=n1/{filling_at}"));
    Arc::make_mut(&mut topology).groups[1].mode = GroupMode::WriteOnly;
    let core = Arc::new(core());
    core.put(topology).expect("a good topology");
    let cluster = core.cluster().expect("it is open");
    let key = Key::new(b"", b"k").expect("a good key");
    let deadline = Instant::now() + Duration::from_secs(10);
    let plan = SpreadPlan::of_all(key, Change::Delete, LatchPolicy::Local, deadline);
    let error = spread(&core, &cluster, plan).await.expect_err("the only zone that counts is gone");
    let WriteError::NotAcknowledged { acked: 0, failed: 1, pending: 0, .. } = error else {
        panic!("{error}")
    };
    assert!(error.maybe_applied());
}
