use super::*;
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
        errors(&[("process.roles", "controller")]),
        [
            "process.roles=controller (server.properties:1): a process without the broker role is not supported"
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
fn the_controllers_listener_of_a_kraft_file_is_left_out() {
    let config = config(&[
        ("process.roles", "broker,controller"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL"),
    ]);
    let listeners: Vec<String> = config.listeners.iter().map(Listener::to_string).collect();
    assert_eq!(listeners, ["PLAINTEXT://:9092"]);
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
