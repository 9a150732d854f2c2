//! scratch
use evanesce_membership::{MembershipOptions, TopologyWatch};
#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let list: Vec<String> = std::env::args().nth(1).unwrap().split(',').map(str::to_owned).collect();
    let watch = TopologyWatch::start(&list, "HOME", MembershipOptions::default()).unwrap();
    let mut rx = watch.subscribe();
    let t0 = std::time::Instant::now();
    let mut last = 0;
    loop {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), rx.changed()).await;
        let t = rx.borrow_and_update().clone();
        let Some(t) = t else { println!("{:?} none {:?}", t0.elapsed(), watch.status().last_error); continue };
        assert!(t.node_count() > 0);
        let s: Vec<String> = t.groups.iter().flat_map(|g| &g.nodes).filter(|n| n.state.to_string() != "serving").take(8).map(|n| format!("{}={}", n.name, n.state)).collect();
        println!("{:>8.3} {} epoch {} nodes {} {} not serving: {:?} following {:?} err {:?}", t0.elapsed().as_secs_f64(), if t.epoch.0 < last { "OLDER!!" } else if t.epoch.0 > last { "new" } else { "same" }, t.epoch.0, t.node_count(), watch.topology().map(|t| t.groups.len()).unwrap_or(0), s, watch.status().following, watch.status().last_error);
        last = t.epoch.0;
    }
}
