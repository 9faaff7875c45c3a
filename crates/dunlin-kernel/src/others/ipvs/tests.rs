use super::*;

#[test]
fn virtual_servers_of_others_stay() {
    let set = |addrs: &[&str]| addrs.iter().map(|a| a.parse().unwrap()).collect();
    let (theirs, own) = (set(&["10.96.0.1", "fd10::1"]), set(&["192.0.2.1"]));
    let saved = "-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r 192.0.2.1:6443 -m -w 1\n\
                 -A -u [fd10::1]:53 -s rr\n-A -t 192.0.2.1:30080 -s rr\n-A -t 192.0.2.1:80 -s wlc\n-A -f 7 -s rr\n";
    let (servers, others) = servers(saved, &theirs, &own);
    let at: Vec<&str> = servers.iter().map(|(_, at)| at.as_str()).collect();
    assert_eq!(at, ["10.96.0.1:443", "[fd10::1]:53", "192.0.2.1:30080"]);
    assert_eq!(servers[1].0, "-u");
    assert_eq!(others.len(), 2, "{others:?}");
}

#[test]
fn only_sets_for_services_are_theirs() {
    for name in [
        "KUBE-CLUSTER-IP",
        "KUBE-6-NODE-PORT-TCP",
        "inet6:kube-router-svip-prt",
    ] {
        assert!(is_set(name), "{name}");
    }
    for name in [
        "KUBE-SRC-X",
        "kube-router-pod-subnets",
        "inet6:KUBE-DST-X",
        "mine",
    ] {
        assert!(!is_set(name), "{name}");
    }
    assert!(has_servers("IP Virtual Server\nTCP  0A600001:01BB rr\n"));
    assert!(!has_servers(
        "IP Virtual Server version 1.2.1\nProt LocalAddress:Port\n"
    ));
}
