use super::{Cell, Table};
use crate::args::Color;
use crate::output::{Style, Tone};

const PLAIN: Color = Color::Never;

fn render(table: &Table, width: usize) -> String {
    table.render(width, Style::new(PLAIN, false))
}

#[test]
fn columns_line_up_and_no_line_ends_in_spaces() {
    let mut table = Table::new().left("NAME").right("N").left("NOTE");
    table.row(vec!["a".into(), "1".into(), "x".into()]);
    table.row(vec!["longer".into(), "1000".into(), "".into()]);
    let expected = "\
NAME       N  NOTE
a          1  x
longer  1000
";
    assert_eq!(render(&table, 100), expected);
}

#[test]
fn the_widest_of_the_columns_that_may_be_cut_gives_way() {
    let mut table = Table::new().cut("NAME", 4).left("STATE").cut("NOTE", 4);
    table.row(vec![
        "node-number-1".into(),
        "Established".into(),
        "connection refused by peer".into(),
    ]);
    let expected = "\
NAME         STATE        NOTE
node-numbe…  Established  connectio…
";
    assert_eq!(render(&table, 36), expected);
    let widest = |text: String| text.lines().map(|l| l.chars().count()).max();
    assert_eq!(widest(render(&table, 36)), Some(36));
    assert_eq!(
        widest(render(&table, 1)),
        Some(4 + 2 + 11 + 2 + 4),
        "no further than asked for"
    );
}

#[test]
fn colours_do_not_count_as_width_and_nothing_foreign_reaches_the_terminal() {
    let mut table = Table::new().left("A").left("B");
    table.row(vec![Cell::new(Tone::Bad, "\x1b[2Jx"), "y".into()]);
    let colored = table.render(100, Style::new(Color::Always, false));
    let titles = "\x1b[1mA\x1b[0m      \x1b[1mB\x1b[0m\n";
    let row = "\x1b[31m\u{fffd}[2Jx\x1b[0m  y\n";
    assert_eq!(colored, format!("{titles}{row}"));
}
