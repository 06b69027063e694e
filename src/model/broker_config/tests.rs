use super::*;
use crate::model::ids::CoreId;
use crate::model::listeners::Listener;
use std::path::Path;

fn settings(pairs: &[(&str, &str)]) -> Vec<Setting> {
    let line = |(index, (key, value)): (usize, &(&str, &str))| Setting {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        origin: Origin::File { path: "server.properties".to_owned(), line: index + 1 },
    };
    pairs.iter().enumerate().map(line).collect()
}

fn config(pairs: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig::from_settings(&settings(pairs)).unwrap().0
}

fn warnings(pairs: &[(&str, &str)]) -> Vec<String> {
    let (_, warnings) = BrokerConfig::from_settings(&settings(pairs)).unwrap();
    warnings.iter().map(ToString::to_string).collect()
}

fn errors(pairs: &[(&str, &str)]) -> Vec<String> {
    let errors = BrokerConfig::from_settings(&settings(pairs)).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

fn local(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_broker_starts_without_any_setting() {
    let config = BrokerConfig::default();
    assert_eq!(config.node_id, BrokerId(1));
    assert_eq!(config.data_dir, Path::new("highwater-data"));
    let listeners: Vec<String> = config.listeners.iter().map(Listener::to_string).collect();
    assert_eq!(listeners, ["PLAINTEXT://127.0.0.1:9092"]);
    assert_eq!((config.partitions, config.replication_factor), (1, 1));
    assert_eq!(config.offsets_topic.replication_factor, 3);
    assert_eq!(config.transactions_topic.min_insync_replicas, Some(2));
    assert!(config.auto_create_topics && config.delete_topics);
}

#[test]
fn the_last_setting_of_a_key_counts() {
    let mut all = settings(&[("num.partitions", "2")]);
    let variable = "KAFKA_NUM_PARTITIONS".to_owned();
    all.push(Setting {
        key: "num.partitions".to_owned(),
        value: " 5 ".to_owned(),
        origin: Origin::Environment { variable },
    });
    let (config, warnings) = BrokerConfig::from_settings(&all).unwrap();
    assert_eq!((config.partitions, warnings), (5, Vec::new()));
    assert_eq!(config.values["num.partitions"], "5");
}

#[test]
fn a_wrong_value_names_key_value_origin_range_and_way_out() {
    assert_eq!(
        errors(&[
            ("num.partitions", "0"),
            ("highwater.cores", "x"),
            ("auto.create.topics.enable", "yes")
        ]),
        [
            "num.partitions=0 (server.properties:1): Value must be at least 1; allowed: at least 1; without it: 1",
            "highwater.cores=x (server.properties:2): Not a number of type INT; allowed: 1 to 1024; or leave it out",
            "auto.create.topics.enable=yes (server.properties:3): Expected value to be either true or false; allowed: true, false; without it: true",
        ]
    );
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let refused = errors(&[("authorizer.class.name", "org.example.Acls")]);
    assert!(refused[0].starts_with("authorizer.class.name=org.example.Acls (server.properties:1): authorisation is not built in"), "{refused:?}");
    assert_eq!(
        errors(&[("log.dirs", "/a,/b")]),
        [
            "log.dirs=/a,/b (server.properties:1): one data directory is supported; join the disks below it"
        ]
    );
    assert_eq!(
        errors(&[("broker.id", "1"), ("node.id", "2")]),
        ["broker.id=1 (server.properties:1): node.id says otherwise; leave broker.id out"]
    );
}

#[test]
fn an_unknown_key_warns_and_names_the_nearest() {
    assert_eq!(
        warnings(&[("num.partition", "3"), ("wholly.unlike.anything", "1")]),
        [
            "num.partition=3 (server.properties:1): unknown key, ignored; did you mean num.partitions?",
            "wholly.unlike.anything=1 (server.properties:2): unknown key, ignored",
        ]
    );
}

#[test]
fn all_zookeeper_keys_get_one_warning() {
    let zookeeper = [("zookeeper.connect", "z:2181"), ("zookeeper.connection.timeout.ms", "18000")];
    assert_eq!(
        warnings(&zookeeper),
        [
            "zookeeper.connect, zookeeper.connection.timeout.ms: ignored: there is no ZooKeeper here, metadata is kept by the broker itself"
        ]
    );
}

#[test]
fn keys_without_effect_warn_only_where_they_ask_for_something() {
    assert_eq!(warnings(&[("num.network.threads", "3")]), Vec::<String>::new());
    assert_eq!(
        warnings(&[("num.network.threads", "4"), ("remote.log.reader.threads", "2")]),
        [
            "num.network.threads=4 (server.properties:1): accepted without effect: work is done by one executor per core, see highwater.cores",
            "remote.log.reader.threads: accepted without effect: there is no remote tier",
        ]
    );
}

#[test]
fn secrets_are_not_shown() {
    let pairs = [("ssl.keystore.password", "hunter2"), ("my.own.secret", "hunter2")];
    let shown = warnings(&pairs).concat();
    assert!(shown.contains("[hidden]") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn node_id_may_come_by_its_old_name() {
    assert_eq!(config(&[("broker.id", "7")]).node_id, BrokerId(7));
    assert_eq!(config(&[("broker.id", "-1"), ("node.id", "3")]).node_id, BrokerId(3));
}

#[test]
fn a_container_set_up_with_advertised_listeners_alone_listens_everywhere() {
    let pairs = [
        ("broker.id", "1"),
        ("advertised.listeners", "INSIDE://kafka:29092,OUTSIDE://localhost:9092"),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT"),
        ("offsets.topic.replication.factor", "1"),
    ];
    let config = config(&pairs);
    let binds: Vec<String> = config.listeners.iter().map(Listener::to_string).collect();
    assert_eq!(binds, ["INSIDE://:29092", "OUTSIDE://:9092"]);
    assert_eq!(config.advertised(local("10.0.0.9:29092")).to_string(), "kafka:29092");
    assert_eq!(config.advertised(local("127.0.0.1:9092")).to_string(), "localhost:9092");
    assert_eq!(
        warnings(&pairs),
        [
            "listeners follow from advertised.listeners: INSIDE://:29092,OUTSIDE://:9092; set listeners to choose"
        ]
    );
}

#[test]
fn without_advertised_listeners_a_client_is_told_the_address_it_reached() {
    let config = config(&[("listeners", "PLAINTEXT://:9092")]);
    for (reached, told) in [
        ("192.0.2.7:9092", "192.0.2.7:9092"),
        ("[2001:db8::1]:9092", "[2001:db8::1]:9092"),
        ("[::ffff:192.0.2.7]:9092", "192.0.2.7:9092"),
    ] {
        assert_eq!(config.advertised(local(reached)).to_string(), told);
    }
}

#[test]
fn the_controllers_listener_of_a_kraft_file_stands_behind_the_brokers() {
    let config = config(&[
        ("process.roles", "broker,controller"),
        ("listeners", "CONTROLLER://:9093,PLAINTEXT://:9092"),
        ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL"),
    ]);
    let listeners: Vec<String> = config.listeners.iter().map(Listener::to_string).collect();
    assert_eq!(listeners, ["PLAINTEXT://:9092", "CONTROLLER://:9093"]);
    assert!(config.listeners.is_controllers(local("127.0.0.1:9093")));
    assert!(!config.listeners.is_controllers(local("127.0.0.1:9092")));
    assert_eq!(config.cluster.peer_listener, "PLAINTEXT");
    assert_eq!(config.listeners.plan_core_ports(2, 1), Ok(vec![vec![9094], vec![]]));
}

#[test]
fn listeners_that_cannot_be_are_refused_in_words() {
    for (key, value, fault) in [
        ("listeners", "9092", "'9092' is not NAME://host:port, as in PLAINTEXT://127.0.0.1:9092"),
        (
            "listeners",
            "PLAINTEXT://h:99999",
            "'PLAINTEXT://h:99999' has no port between 0 and 65535",
        ),
        (
            "listeners",
            "SSL://:9093",
            "listener SSL wants SSL, and only PLAINTEXT is built in; map it to PLAINTEXT, or leave it out",
        ),
        (
            "listeners",
            "SASL_SSL://:9093",
            "listener SASL_SSL wants SASL_SSL, and only PLAINTEXT is built in; map it to PLAINTEXT, or leave it out",
        ),
        (
            "listeners",
            "A://:1",
            "the name A has no protocol; add A:PLAINTEXT to listener.security.protocol.map",
        ),
        ("listeners", "PLAINTEXT://:1,PLAINTEXT://:2", "the name PLAINTEXT is used twice"),
        (
            "listeners",
            "",
            "there is no listener left: name at least one, as in PLAINTEXT://127.0.0.1:9092",
        ),
        (
            "advertised.listeners",
            "PLAINTEXT://0.0.0.0:9092",
            "'0.0.0.0' cannot be advertised: no client can connect to it; name an address or host name that clients reach, or leave advertised.listeners out",
        ),
    ] {
        assert_eq!(
            errors(&[(key, value)]),
            [format!("{key}={value} (server.properties:1): {fault}")]
        );
    }
    assert_eq!(
        errors(&[("listener.security.protocol.map", "A:TLS")]),
        [
            "listener.security.protocol.map=A:TLS (server.properties:1): 'A:TLS' is not NAME:PROTOCOL; a protocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
        ]
    );
    assert_eq!(
        errors(&[("listeners", "PLAINTEXT://:9092"), ("advertised.listeners", "OTHER://h:9092")]),
        [
            "advertised.listeners=OTHER://h:9092 (server.properties:2): OTHER is advertised, but not among the listeners"
        ]
    );
}

#[test]
fn the_cluster_id_is_read_or_refused() {
    let id = config(&[("highwater.cluster.id", "AAAAAAAAAAAAAAAAAAAAAQ")]).cluster_id;
    assert_eq!(id.as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAQ"));
    assert_eq!(
        errors(&[("highwater.cluster.id", "abc")]),
        [
            "highwater.cluster.id=abc (server.properties:1): a cluster id is 16 bytes in base64url: 22 characters, no padding"
        ]
    );
}

#[test]
fn rules_of_share_groups_join_several_keys() {
    for (key, value) in [
        ("group.share.session.timeout.ms", "61000"),
        ("group.share.min.heartbeat.interval.ms", "6000"),
        ("group.share.record.lock.duration.ms", "14999"),
        ("group.share.min.record.lock.duration.ms", "30000"),
        ("group.share.max.share.sessions", "199"),
        ("group.share.assignors", "simple,simple"),
    ] {
        let errors = BrokerConfig::from_settings(&settings(&[(key, value)])).err();
        let is_wrong = key != "group.share.min.record.lock.duration.ms";
        assert_eq!(errors.is_some_and(|errors| errors.len() == 1), is_wrong, "{key}");
    }
    let share = config(&[("group.share.max.size", "7"), ("group.share.delivery.count.limit", "2")]);
    assert_eq!((share.groups.share.size_max, share.groups.share.delivery_count_max), (7, 2));
}

fn per_core(pairs: &[(&str, &str)]) -> BrokerConfig {
    let mut all = vec![("highwater.listeners.per.core", "true")];
    all.extend(pairs);
    config(&all)
}

#[test]
fn each_core_has_a_port_above_its_listener_and_is_advertised_as_far_above() {
    let config = per_core(&[
        ("listeners", "IN://127.0.0.1:9092,OUT://127.0.0.1:9192"),
        ("advertised.listeners", "OUT://example.org:19192"),
        ("listener.security.protocol.map", "IN:PLAINTEXT,OUT:PLAINTEXT"),
    ]);
    let planned = config.listeners.plan_core_ports(config.first_core_port.unwrap(), 2).unwrap();
    assert_eq!(planned, [[9093, 9094], [9193, 9194]]);
    let ports = [9092, 9192].into_iter().zip(planned).collect();
    let opened = config.listeners.opened(ports);
    let told = |reached, core| opened.advertised_core(local(reached), CoreId(core)).unwrap();
    assert_eq!(told("127.0.0.1:9092", 1).to_string(), "127.0.0.1:9094");
    assert_eq!(told("127.0.0.1:9094", 0).to_string(), "127.0.0.1:9093");
    assert_eq!(told("127.0.0.1:9192", 1).to_string(), "example.org:19194");
    assert_eq!(told("127.0.0.1:9193", 1).to_string(), "example.org:19194");
    assert_eq!(opened.advertised(local("127.0.0.1:9094")).to_string(), "127.0.0.1:9092");
    assert_eq!(opened.core_at(local("127.0.0.1:9194")), Some(CoreId(1)));
    assert_eq!(opened.core_at(local("127.0.0.1:9192")), None);
    assert_eq!(opened.name(local("127.0.0.1:9194")), "OUT");
    assert_eq!(opened.advertised_core(local("127.0.0.1:9092"), CoreId(2)), None);
}

#[test]
fn ports_of_cores_that_cannot_be_are_refused_in_words() {
    let fault = |listeners, cores| {
        let config = per_core(&[
            ("listeners", listeners),
            ("listener.security.protocol.map", "IN:PLAINTEXT,OUT:PLAINTEXT"),
        ]);
        let first = config.first_core_port.unwrap();
        config.listeners.plan_core_ports(first, cores).unwrap_err().to_string()
    };
    assert_eq!(
        fault("IN://:9092,OUT://:9094", 2),
        "core 1 of listener IN would have port 9094, which is given to another"
    );
    assert_eq!(
        fault("IN://:9092,OUT://:9090", 2),
        "core 1 of listener OUT would have port 9092, which is given to another"
    );
    assert_eq!(
        fault("IN://:65534", 2),
        "core 1 of listener IN would have port 65536, beyond 65535"
    );
    let kernels = per_core(&[("listeners", "PLAINTEXT://:0")]);
    assert_eq!(kernels.listeners.plan_core_ports(1, 2), Ok(vec![vec![0, 0]]));
}

#[test]
fn metrics_are_listened_for_where_an_address_is_named() {
    let key = "highwater.metrics.listener";
    assert_eq!(config(&[]).metrics_listener, None);
    let endpoint = config(&[(key, " [::1]:9644 ")]).metrics_listener.unwrap();
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 9644));
    for value in ["9644", "localhost", "localhost:0", "localhost:99999", ":9644"] {
        let errors = errors(&[(key, value)]);
        assert!(errors[0].contains(key) && errors[0].contains("HOST:PORT"), "{errors:?}");
    }
}

#[test]
fn ids_of_brokers_leave_room_for_those_of_cores() {
    let pairs = [("highwater.listeners.per.core", "true"), ("node.id", "1000000")];
    assert!(errors(&pairs)[0].contains("node.id is below 1000000"), "{:?}", errors(&pairs));
    assert_eq!(config(&[("node.id", "1000000")]).first_core_port, None);
}

#[test]
fn a_broker_without_voters_is_a_cluster_of_its_own() {
    let alone = |pairs: &[(&str, &str)]| {
        let config = config(pairs);
        config.cluster.is_alone(config.node_id)
    };
    assert!(alone(&[]));
    assert!(alone(&[("node.id", "4"), ("controller.quorum.voters", "4@localhost:9093")]));
    assert!(!alone(&[("controller.quorum.voters", "1@a:9093,2@b:9093,3@c:9093")]));
    assert!(!alone(&[
        ("process.roles", "broker"),
        ("controller.quorum.bootstrap.servers", "a:9093")
    ]));
    assert_eq!(config(&[]).cluster.peer_listener, "PLAINTEXT");
}

#[test]
fn rules_between_the_keys_of_a_cluster_are_told() {
    for (pairs, expected) in [
        (
            vec![("controller.quorum.voters", "2@b:9093")],
            "controller.quorum.voters=2@b:9093 (server.properties:1): a controller is among the voters; name this node.id, or set process.roles=broker",
        ),
        (
            vec![("controller.quorum.voters", "1@b:9093"), ("process.roles", "broker")],
            "controller.quorum.voters=1@b:9093 (server.properties:1): a process without the controller role is not among the voters",
        ),
        (
            vec![("controller.quorum.voters", "b:9093")],
            "controller.quorum.voters=b:9093 (server.properties:1): voters are ID@HOST:PORT,... with each id once",
        ),
        (
            vec![("inter.broker.listener.name", "inside")],
            "inter.broker.listener.name=inside (server.properties:1): INSIDE is not among the listeners",
        ),
        (
            vec![("broker.session.timeout.ms", "2000")],
            "broker.session.timeout.ms=2000 (server.properties:1): broker.session.timeout.ms is longer than broker.heartbeat.interval.ms (9000 and 2000 unless set)",
        ),
    ] {
        assert_eq!(errors(&pairs), [expected]);
    }
}

/// What a controller by itself is told, beside what a test says.
fn controller<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("process.roles", "controller"),
        ("node.id", "3"),
        ("controller.quorum.voters", "1@a:9093,2@b:9093,3@c:9093"),
        ("listeners", "CONTROLLER://:9093"),
        ("controller.listener.names", "CONTROLLER"),
    ];
    all.extend(pairs);
    all
}

#[test]
fn a_controller_by_itself_has_its_own_listeners_and_one_core() {
    let advertised = [("advertised.listeners", "CONTROLLER://c:9093")];
    let alone = config(&controller(&advertised));
    let listeners: Vec<String> = alone.listeners.iter().map(Listener::to_string).collect();
    assert_eq!(listeners, ["CONTROLLER://:9093"]);
    assert_eq!(alone.advertised(local("192.0.2.7:9093")).to_string(), "c:9093");
    assert_eq!(alone.cluster.roles, Roles { broker: false, controller: true });
    assert_eq!((alone.cluster.peer_listener.as_str(), alone.cores), ("CONTROLLER", Some(1)));

    let bootstrap = [
        ("controller.quorum.voters", ""),
        ("controller.quorum.bootstrap.servers", "a:9093"),
        ("inter.broker.listener.name", "INSIDE"),
        ("highwater.cores", "2"),
    ];
    let joins = config(&controller(&bootstrap));
    assert!(!joins.cluster.is_alone(joins.node_id));
    assert_eq!((joins.cluster.peer_listener.as_str(), joins.cores), ("INSIDE", Some(2)));
    let cores = config(&controller(&[("highwater.core.list", "0,2")]));
    assert_eq!((cores.cores, cores.core_list), (None, vec![0, 2]));
}

#[test]
fn what_a_process_with_one_role_cannot_be_told_is_refused_by_name() {
    for (pairs, expected) in [
        (
            vec![("process.roles", "controller"), ("controller.quorum.voters", "1@a:9093")],
            "process.roles=controller (server.properties:1): PLAINTEXT is not among controller.listener.names, and a controller has no other listeners: set both, as in listeners=CONTROLLER://:9093 and controller.listener.names=CONTROLLER",
        ),
        (
            controller(&[
                ("listeners", "CONTROLLER://:9093,OUTSIDE://:9092"),
                ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,OUTSIDE:PLAINTEXT"),
            ]),
            "listeners=CONTROLLER://:9093,OUTSIDE://:9092 (server.properties:6): OUTSIDE is not among controller.listener.names, and a controller has no other listeners: set both, as in listeners=CONTROLLER://:9093 and controller.listener.names=CONTROLLER",
        ),
        (
            controller(&[("controller.listener.names", "CONTROLLER,OTHER")]),
            "controller.listener.names=CONTROLLER,OTHER (server.properties:6): OTHER is not among the listeners",
        ),
        (
            controller(&[("listener.security.protocol.map", "CONTROLLER:SSL")]),
            "listeners=CONTROLLER://:9093 (server.properties:4): listener CONTROLLER wants SSL, and only PLAINTEXT is built in; map it to PLAINTEXT, or leave it out",
        ),
        (
            controller(&[("inter.broker.listener.name", "CONTROLLER")]),
            "inter.broker.listener.name=CONTROLLER (server.properties:6): a controller's listener is not between brokers; name theirs, or leave it out",
        ),
        (
            controller(&[("controller.quorum.voters", "1@a:9093")]),
            "controller.quorum.voters=1@a:9093 (server.properties:6): a controller is among the voters; name this node.id, or set process.roles=broker",
        ),
        (
            controller(&[("controller.quorum.voters", "")]),
            "process.roles=controller (server.properties:1): a process with one role finds its quorum by controller.quorum.voters or controller.quorum.bootstrap.servers; set one of them",
        ),
        (
            controller(&[("highwater.listeners.per.core", "true")]),
            "highwater.listeners.per.core=true (server.properties:6): a controller has no partitions to lead clients to; leave it out where process.roles=controller",
        ),
        (
            vec![("process.roles", "broker")],
            "process.roles=broker (server.properties:1): a process with one role finds its quorum by controller.quorum.voters or controller.quorum.bootstrap.servers; set one of them",
        ),
        (
            vec![
                ("process.roles", "broker"),
                ("controller.quorum.bootstrap.servers", "a:9093"),
                ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
                ("controller.listener.names", "CONTROLLER"),
            ],
            "listeners=PLAINTEXT://:9092,CONTROLLER://:9093 (server.properties:3): CONTROLLER is in controller.listener.names, and process.roles=broker has no controller: leave it out of listeners",
        ),
    ] {
        assert_eq!(errors(&pairs), [expected]);
    }
}
