use super::*;

#[test]
fn the_counters_are_found_by_name() {
    let text = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure Other\n\
                TcpExt: 9 1 2 3 9\n\
                IpExt: TCPMD5NotFound\nIpExt: 77\n";
    let expected = Md5Mismatches {
        unsigned: 1,
        unexpected: 2,
        wrong: 3,
    };
    assert_eq!(Md5Mismatches::parse(text), expected);
    assert_eq!(Md5Mismatches::parse("TcpExt: A"), Md5Mismatches::default());
    assert_eq!(Md5Mismatches::parse(""), Md5Mismatches::default());
}
