use super::*;

const COLUMNS: &[Column] = &[Column::new("wall", "s"), Column::new("peak", "MB")];

#[test]
fn the_median_is_the_middle_or_the_mean_of_two() {
    assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
    assert_eq!(median(vec![4.0, 1.0, 2.0, 8.0]), 3.0);
}

#[test]
fn ratios_are_ours_by_theirs_and_stand_beside_the_peer() {
    let mut report = Report::new("case".into(), COLUMNS, "Dunlin");
    report.add("Dunlin 0.1", vec![1.0, 30.0]);
    report.add("BIRD 2", vec![2.0, 120.0]);
    let text = report.text();
    let line = text.lines().find(|line| line.starts_with("BIRD")).unwrap();
    assert!(line.ends_with("0.50× 0.25×"), "{line}");
    assert!(
        !text
            .lines()
            .find(|line| line.starts_with("Dunlin"))
            .unwrap()
            .contains('×')
    );
}

#[test]
fn without_our_own_figures_there_are_no_ratios() {
    let mut report = Report::new("case".into(), COLUMNS, "Dunlin");
    report.note("Dunlin", "skipped: not built".into());
    report.add("BIRD 2", vec![2.0, 120.0]);
    assert!(!report.text().contains('×'));
    assert!(report.text().contains("skipped: not built"));
}
