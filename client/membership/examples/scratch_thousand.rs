//! scratch
use evanesce_membership::{MembershipOptions, NodeFacts, Registration};
use evanesce_topology::{Node, NodeState, RingProfile};
#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let list: Vec<String> = std::env::args().nth(1).unwrap().split(',').map(str::to_owned).collect();
    let n: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let t0 = std::time::Instant::now();
    let regs: Vec<_> = (0..n).map(|i| {
        let z = ["a", "b", "c"][i % 3];
        let facts = NodeFacts { cluster: "HOME".into(), profile: RingProfile::EVANESCE, group: format!("{z}1"), zone: z.into(),
            node: Node { name: format!("{z}{i}"), ring_text: format!("{z}{i}"), weight: 1, state: NodeState::Serving, incarnation: i as u64 + 1,
                memcached: format!("127.1.{}.{}:11211", i / 250, i % 250 + 1).parse().unwrap(), grpc: None, http: None, version: "0.1.0".into(), capabilities: vec![] } };
        Registration::start(&list, facts, MembershipOptions::default()).unwrap()
    }).collect();
    let mut before = usize::MAX;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let missing: usize = regs.iter().map(|r| r.status().iter().filter(|s| !s.registered).count()).sum();
        let err = regs.iter().flat_map(|r| r.status()).filter_map(|s| s.last_error).next();
        if missing != before { println!("{:>8.3} leases missing {} of {} {:?}", t0.elapsed().as_secs_f64(), missing, n * list.len(), err); before = missing; }
    }
}
