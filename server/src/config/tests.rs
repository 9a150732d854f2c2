use clap::Command;
use evanesce_node::{NamespaceConfig, NodeConfig};
use evanesce_topology::RingProfile;

use super::*;

/// The settings that a command line and a file make, or the faults as text.
fn settings(role: RoleName, file: &str, flags: &[&str]) -> Result<Settings, String> {
    let command = with_options(Command::new("test"), role);
    // The environment of whoever runs the tests is no part of them.
    let command = command.mut_args(|arg| arg.env(None::<&str>));
    let matches =
        command.try_get_matches_from([&["test"], flags].concat()).map_err(|error| error.to_string())?;
    let mut raw = Raw::new(role);
    raw.take_file(file, "test.toml");
    raw.take_matches(&matches);
    Settings::check(raw).map_err(|error| error.to_string())
}

fn node(file: &str, flags: &[&str]) -> NodeConfig {
    match settings(RoleName::Node, file, flags).unwrap().role {
        RoleSettings::Node(node) => *node,
        other => panic!("{other:?}"),
    }
}

const CLUSTERED: &str = r#"
    [common]
    cluster = "HOME"
    zone = "a"
    discovery = ["127.0.0.1:11300", "http://localhost:11300"]
    [node]
    name = "n1"
    memory = "64MiB"
    threads = 3
"#;

#[test]
fn file_fills_a_node_and_defaults_fill_the_rest() {
    let node = node(CLUSTERED, &[]);
    assert_eq!(node.memory_bytes, 64 << 20);
    assert_eq!(node.threads.get(), 3);
    assert_eq!(node.grpc, Some("127.0.0.1:11212".parse().unwrap()));
    assert_eq!((node.cluster.as_str(), node.group.as_str()), ("HOME", "HOME-a"));
    assert_eq!(node.discoveries, ["127.0.0.1:11300", "localhost:11300"]);
    assert_eq!((node.profile, node.ring_text), (RingProfile::EVANESCE, None));
}

#[test]
fn flags_go_over_the_file_and_the_roles_section_over_the_common_one() {
    let file = format!("{CLUSTERED}\nzone = \"b\"");
    let node = node(&file, &["--memory", "1GiB", "--ring=evcache"]);
    assert_eq!(node.memory_bytes, 1 << 30);
    assert_eq!((node.zone.as_str(), node.profile), ("b", RingProfile::EVCACHE));
    assert_eq!(node.ring_text.unwrap(), "n1/127.0.0.1:11211");
}

#[test]
fn other_ports_follow_the_first_listen_address() {
    let node = node(CLUSTERED, &["--listen", "127.9.8.7:4711,127.9.8.7:4712", "--http=off"]);
    assert_eq!(node.listen.len(), 2);
    assert_eq!(node.grpc, Some("127.9.8.7:11212".parse().unwrap()));
    assert_eq!(node.http, None);
}

#[test]
fn standalone_node_needs_nothing_and_shows_nothing_but_memcached() {
    let node = node("", &["--standalone", "--listen", "127.0.0.1:0"]);
    assert!(node.discoveries.is_empty());
    assert_eq!((node.grpc, node.http), (None, None));
}

#[test]
fn all_faults_are_reported_together() {
    let file = r#"
        colour = "red"
        [node]
        listen = "nowhere"
        memory = "lots"
        threads = 0
        nmae = "n1"
        http = 1.5
    "#;
    let faults = settings(RoleName::Node, file, &["--name", "a b", "--ring", "oval"]).unwrap_err();
    for part in [
        "11 faults",
        "`colour` is no section",
        "listen = \"nowhere\" ([node] in test.toml): write ip:port",
        "memory = \"lots\"",
        "threads = \"0\" ([node] in test.toml): choose from 1 to 1024",
        "[node] has no option `nmae`",
        "http is of type float: write a text in quotes",
        "name = \"a b\" (flag --name)",
        "ring = \"oval\"",
        "cluster is not set",
        "zone is not set",
        "discovery is not set: a node needs it unless it is --standalone; set --discovery, EVANESCE_DISCOVERY, or \
         discovery under [node]",
    ] {
        assert!(faults.contains(part), "{part} is not in {faults}");
    }
}

#[test]
fn off_loopback_is_refused_unless_insecure() {
    let listen =
        ["--standalone", "--listen", "0.0.0.0:0", "--grpc", "[::]:0", "--http", "[::ffff:127.0.0.1]:0"];
    let faults = settings(RoleName::Node, "", &listen).unwrap_err();
    assert!(faults.contains("2 faults") && faults.contains("--insecure"), "{faults}");
    node("", &[&listen[..], &["--insecure"]].concat());
}

#[test]
fn off_loopback_is_allowed_where_peers_must_say_who_they_are() {
    let tls = ["--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"];
    for (flags, faults) in [
        (&["--listen", "0.0.0.0:1", "--auth-file", "u"][..], None),
        (&["--listen", "tls://0.0.0.0:1", tls[0], "c", tls[2], "k", tls[4], "a"], None),
        (&["--listen", "tls://[::]:1", "--auth-file", "u", tls[0], "c", tls[2], "k"], None),
        (&["--listen", "unix:/run/e.sock?mode=0666"], None),
        (&["--listen", "tls://0.0.0.0:1", tls[0], "c", tls[2], "k"], Some("or tls_client_ca")),
        (
            &["--listen", "127.0.0.1:1,10.0.0.1:1?auth=off", "--auth-file", "u"],
            Some("10.0.0.1:1?auth=off is not loopback"),
        ),
        (
            &["--listen", "tls://0.0.0.0:1,0.0.0.0:2", tls[0], "c", tls[2], "k", tls[4], "a"],
            Some("listen = 0.0.0.0:2 is not loopback"),
        ),
    ] {
        match (settings(RoleName::Node, "", &[&["--standalone"], flags].concat()), faults) {
            (Ok(_), None) => {}
            (Err(said), Some(part)) => {
                assert!(said.contains("1 fault:") && said.contains(part), "{flags:?}: {said}");
                assert!(said.contains("set auth_file"), "it says what to do: {said}");
            }
            (other, _) => panic!("{flags:?}: {other:?}"),
        }
    }
}

#[test]
fn every_kind_of_listener_may_stand_in_the_file() {
    let file = r#"
        [node]
        standalone = true
        listen = ["127.0.0.1:11211", "unix:/run/evanesce.sock?mode=0660", "tls://0.0.0.0:11311"]
        tls_cert = "/etc/evanesce/cert.pem"
        tls_key = "/etc/evanesce/key.pem"
        tls_client_ca = "/etc/evanesce/clients.pem"
        auth_file = "/etc/evanesce/users"
    "#;
    let node = node(file, &[]);
    let listen: Vec<String> = node.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:11211", "unix:/run/evanesce.sock?mode=0660", "tls://0.0.0.0:11311"]);
    assert_eq!(node.tls.unwrap().client_ca, Some("/etc/evanesce/clients.pem".into()));
    assert_eq!(node.auth_file, Some("/etc/evanesce/users".into()));
}

#[test]
fn tls_and_passwords_that_cannot_work_are_told_what_to_write() {
    for (flags, part) in [
        (&["--listen", "tls://127.0.0.1:1"][..], "tls_cert is not set: listen has tls://"),
        (&["--listen", "tls://127.0.0.1:1", "--tls-cert", "c"], "tls_key is not set"),
        (&["--tls-cert", "c", "--tls-key", "k"], "nothing speaks TLS: write tls://ip:port"),
        (&["--listen", "127.0.0.1:1?auth=off", "--auth-file", "u"], "every listener says auth=off"),
        (&["--listen", "unix:e.sock"], "an absolute path"),
        (&["--listen", "unix:/e,unix:/e?mode=0600"], "is there twice"),
        (&["--listen", "tls://127.0.0.1:1,127.0.0.1:1"], "already taken by listen"),
    ] {
        let said = settings(RoleName::Node, "", &[&["--standalone"], flags].concat()).unwrap_err();
        assert!(said.contains(part), "{flags:?}: {said}");
    }
}

#[test]
fn node_of_a_cluster_tells_its_first_address_whatever_is_asked_there() {
    let tls = ["--tls-cert", "c", "--tls-key", "k", "--auth-file", "u", "--ring", "evcache", "--listen"];
    let with = |listen: &'static str| [&tls[..], &[listen]].concat();
    let node = node(CLUSTERED, &with("unix:/e,tls://127.0.0.2:1,127.0.0.3:3?auth=off"));
    assert_eq!(node.ring_text.unwrap(), "n1/127.0.0.2:11211");
    assert_eq!(node.grpc, Some("127.0.0.2:11212".parse().unwrap()));
    let said = settings(RoleName::Node, CLUSTERED, &["--listen", "unix:/e"]).unwrap_err();
    assert!(said.contains("1 fault:") && said.contains("add ip:port or tls://ip:port"), "{said}");
}

#[test]
fn grpc_and_http_stay_on_loopback_where_memcached_asks_for_passwords() {
    let flags =
        ["--cluster", "C", "--zone", "z", "--discovery", "d:1", "--auth-file", "u", "--listen", "0.0.0.0:1"];
    let settings = settings(RoleName::Gateway, "", &flags).unwrap();
    let RoleSettings::Gateway(gateway) = settings.role else { panic!("a gateway") };
    assert_eq!(gateway.grpc, Some("127.0.0.1:11212".parse().unwrap()));
    assert_eq!(gateway.http, Some("127.0.0.1:11213".parse().unwrap()));
}

#[test]
fn address_taken_twice_is_refused() {
    let flags = ["--standalone", "--listen", "127.0.0.1:5000", "--http", "127.0.0.1:5000"];
    let faults = settings(RoleName::Node, "", &flags).unwrap_err();
    assert!(faults.contains("already taken by listen"), "{faults}");
}

#[test]
fn lease_must_outlast_a_lost_renewal() {
    let faults =
        settings(RoleName::Discovery, "", &["--lease", "6s", "--renew-every", "2100ms"]).unwrap_err();
    assert!(faults.contains("a third of the lease"), "{faults}");
    settings(RoleName::Discovery, "", &["--lease", "6s", "--renew-every", "2s"]).unwrap();
}

#[test]
fn sections_of_other_roles_are_no_concern_but_their_keys_must_exist() {
    let file = "[node]\nmemory = \"lots\"\n[gateway]\nmemory = \"1GiB\"\n";
    let faults = settings(RoleName::Discovery, file, &[]).unwrap_err();
    assert!(faults.contains("1 fault:") && faults.contains("[gateway] has no option `memory`"), "{faults}");
}

#[test]
fn printed_file_gives_the_same_settings_back() {
    for (role, flags) in [
        (RoleName::Node, &["--standalone", "--listen", "127.0.0.1:0,[::1]:0"][..]),
        (RoleName::Node, &["--standalone", "--namespace=a,limit=9MiB", "--namespace=b", "--hash-seed=0x7"]),
        (RoleName::Discovery, &["--lease", "30s", "--insecure"]),
        (RoleName::Gateway, &["--cluster", "C", "--zone", "z", "--discovery", "127.0.0.1:1,127.0.0.1:2"]),
    ] {
        let printed = settings(role, "", flags).unwrap().commented_file();
        let again = settings(role, &printed, &[]).unwrap();
        assert_eq!(again.commented_file(), printed);
    }
}

#[test]
fn every_option_of_every_role_can_be_set_and_is_read() {
    // A setting that no check reads would trip the assertion in `Checker::finish`.
    for role in RoleName::ALL {
        let file: String = spec::options_of(role).map(|spec| format!("{} = \"x\"\n", spec.name)).collect();
        let faults = settings(role, &format!("[{role}]\n{file}"), &[]).unwrap_err();
        assert!(faults.contains("log_format = \"x\""), "{faults}");
    }
}

#[test]
fn every_word_that_the_table_lists_is_taken() {
    for role in RoleName::ALL {
        for spec in spec::options_of(role) {
            let form::Form::Word(words) = spec.form else { continue };
            for word in words {
                let file = format!("[{role}]\n{} = {word:?}\n", spec.name);
                let said = settings(role, &file, &[]).map_or_else(|faults| faults, |_| String::new());
                assert!(!said.contains(&format!("{} = ", spec.name)), "{said}");
            }
        }
    }
}

#[test]
fn listening_everywhere_needs_an_address_to_tell() {
    let everywhere = ["--listen", "0.0.0.0:11211", "--insecure"];
    let faults = settings(RoleName::Node, CLUSTERED, &everywhere).unwrap_err();
    assert!(faults.contains("set advertise"), "{faults}");
    let node =
        node(CLUSTERED, &[&everywhere[..], &["--advertise", "10.1.2.3", "--ring", "evcache"]].concat());
    assert_eq!(node.advertise_memcached, Some("10.1.2.3:11211".parse().unwrap()));
    assert_eq!(node.advertise_grpc, Some("10.1.2.3:11212".parse().unwrap()));
    assert_eq!(node.ring_text.unwrap(), "n1/10.1.2.3:11211");
}

#[test]
fn largest_item_must_fit_the_memory_four_times() {
    let flags = ["--standalone", "--memory", "16MiB", "--item-bytes-max", "5MiB"];
    let faults = settings(RoleName::Node, "", &flags).unwrap_err();
    assert!(faults.contains("a quarter of memory"), "{faults}");
}

fn user() -> NamespaceConfig {
    NamespaceConfig { guarantee_bytes: 8 << 20, limit_bytes: Some(32 << 20), ..named("user") }
}

fn named(name: &str) -> NamespaceConfig {
    NamespaceConfig { name: name.to_owned(), ..NamespaceConfig::default() }
}

#[test]
fn namespaces_may_stand_in_tables_in_flags_and_in_one_text() {
    let tables = "[node]\nstandalone = true\n[[node.namespace]]\nname = \"user\"\nguarantee = \"8MiB\"\n\
                  limit = \"32MiB\"\n[[node.namespace]]\nname = \"session\"\n";
    assert_eq!(node(tables, &["--memory", "64MiB"]).namespaces, [user(), named("session")]);
    let text = "user,guarantee=8MiB,limit=32MiB";
    let flags = ["--standalone", "--memory", "64MiB", "--namespace", text, "--namespace", "session"];
    assert_eq!(node("", &flags).namespaces, [user(), named("session")]);
    // The flags' replace the file's.
    assert_eq!(node(tables, &["--namespace=session"]).namespaces, [named("session")]);
    let file = format!("[node]\nstandalone = true\nmemory = \"64MiB\"\nnamespace = \"{text};session\"\n");
    assert_eq!(node(&file, &[]).namespaces, [user(), named("session")]);
    assert_eq!(node("", &["--standalone"]).namespaces, []);
}

#[test]
fn namespaces_that_cannot_work_are_told_what_to_write_all_together() {
    let file = r#"
        [node]
        standalone = true
        namespaces = 1
        [[node.namespace]]
        name = "user"
        garantee = "1MiB"
        [[node.namespace]]
        limit = "1MiB"
        [[node.namespace]]
        name = "a"
        limit = 1.5
    "#;
    let faults = settings(RoleName::Node, file, &[]).unwrap_err();
    for part in [
        "4 faults",
        "[node] has no option `namespaces`: write namespace",
        "namespace has no key `garantee`: these are name, guarantee, limit",
        "namespace has no name: write name",
        "namespace has a limit that is no size",
    ] {
        assert!(faults.contains(part), "{part} is not in {faults}");
    }
    for (wrong, told) in [
        ("user,limit", "\"limit\" of namespace user: write guarantee=SIZE or limit=SIZE"),
        ("user,limit=much", "write a size such as 64MiB"),
        ("user,limit=0", "choose from 1B"),
        ("limit=1MiB", "does not begin with a name"),
    ] {
        let faults = settings(RoleName::Node, "", &["--standalone", "--namespace", wrong]).unwrap_err();
        assert!(faults.contains("1 fault:") && faults.contains(told), "{told} is not in {faults}");
    }
}

#[test]
fn what_the_store_refuses_of_namespaces_is_a_fault() {
    let flags = ["--standalone", "--memory", "64MiB", "--namespace"];
    let faults =
        |namespaces: &str| settings(RoleName::Node, "", &[&flags[..], &[namespaces]].concat()).unwrap_err();
    let said = faults("a,guarantee=2MiB,limit=1MiB;default;b;b");
    for part in [
        "3 faults",
        "namespace \"a\" guarantees more than its limit",
        "choose another",
        "\"b\" is configured twice",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let said = faults("a,guarantee=40MiB;b,guarantee=30MiB");
    assert!(said.contains("can be guaranteed"), "{said}");
}

#[test]
fn hash_seed_is_hexadecimal_or_decimal() {
    for (text, seed) in
        [("0xdeadBEEF00000001", 0xdead_beef_0000_0001), ("31", 31), ("18446744073709551615", u64::MAX)]
    {
        assert_eq!(node("", &["--standalone", "--hash-seed", text]).hash_seed, Some(seed));
    }
    assert_eq!(node("[node]\nstandalone = true\nhash_seed = 0x1f\n", &[]).hash_seed, Some(31));
    assert_eq!(node("", &["--standalone"]).hash_seed, None);
    let faults = settings(RoleName::Node, "", &["--standalone", "--hash-seed", "beef"]).unwrap_err();
    assert!(faults.contains("such as 0x1f or 31"), "{faults}");
}

#[test]
fn option_that_two_checks_read_is_faulted_once() {
    for (role, flags) in [
        (RoleName::Node, &["--standalone", "--drain-deadline", "2h"][..]),
        (
            RoleName::Gateway,
            &["--cluster", "C", "--zone", "z", "--discovery", "d:1", "--drain-deadline", "2h"],
        ),
    ] {
        let faults = settings(role, "", flags).unwrap_err();
        assert!(faults.contains("1 fault:"), "{faults}");
    }
}

#[test]
fn file_that_cannot_be_read_is_the_only_fault_it_makes() {
    // Everything that the file may have set was reported as not set besides.
    let faults = settings(RoleName::Node, "[node", &["--threads", "0"]).unwrap_err();
    assert!(faults.contains("2 faults") && faults.contains("is not TOML"), "{faults}");
    assert!(!faults.contains("is not set"), "{faults}");
}

#[test]
fn discovery_that_nothing_could_connect_to_is_refused() {
    // These passed, and a node tried them forever.
    for wrong in
        ["::1:11300", "a b:11300", "https://d:11300", "a@b:11300", "http://http://d:1", "d:0", "[d]:1"]
    {
        let flags = ["--cluster", "C", "--zone", "z", "--name", "n", "--discovery", wrong];
        let faults = settings(RoleName::Node, "", &flags).unwrap_err();
        assert!(faults.contains("1 fault:") && faults.contains("[::1]:11300"), "{wrong}: {faults}");
    }
    let good = "127.0.0.1:1, [::1]:2,http://d-1.example.:3/";
    let flags = ["--cluster", "C", "--zone", "z", "--name", "n", "--discovery", good];
    assert_eq!(node("", &flags).discoveries, ["127.0.0.1:1", "[::1]:2", "d-1.example.:3"]);
}

#[test]
fn value_of_a_wrong_type_and_a_key_written_as_a_flag_are_told_what_to_write() {
    let file = "[node]\nstandalone = true\nmemory = [\"64MiB\"]\nthreads = 1.5\nitem-bytes-max = \"1MiB\"\n";
    let faults = settings(RoleName::Node, file, &[]).unwrap_err();
    for part in [
        "3 faults",
        "memory is of type array: write a text in quotes",
        "threads is of type float: write a whole number",
        "no option `item-bytes-max`: write item_bytes_max",
    ] {
        assert!(faults.contains(part), "{part} is not in {faults}");
    }
}
