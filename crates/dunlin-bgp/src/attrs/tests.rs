use super::*;

#[test]
fn prepending_fills_the_leading_sequence_before_it_opens_another() {
    let asns: Vec<_> = (1..=254).map(dunlin_net::Asn).collect();
    let bytes = AttrBuilder::originated(Origin::Igp)
        .as_path(&asns)
        .prepend(dunlin_net::Asn(9), 3)
        .build();
    let path = Attrs::new(&bytes).as_path();
    let counts: Vec<_> = path
        .segments()
        .map(|segment| segment.asns().len())
        .collect();
    assert_eq!(counts, [2, 255]);
    assert_eq!(path.path_len(), 257);
    assert_eq!(path.neighbour(), Some(dunlin_net::Asn(9)));
}
