use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::{Cli, Command, MetricsAddr, Subject};

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_fits_a_hundred_columns() {
    let mut command = Cli::command();
    command.build();
    let mut commands = vec![&mut command];
    while let Some(command) = commands.pop() {
        let name = command.get_name().to_owned();
        for line in command.render_long_help().to_string().lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
        commands.extend(command.get_subcommands_mut());
    }
}

#[test]
fn usage_errors_end_with_two() {
    for wrong in [
        &["dunlin", "conquer"] as &[&str],
        &["dunlin", "get", "routes", "--prefix", "10.0.0.0/33"],
        &["dunlin", "get", "routes", "--limit", "10001"],
        &["dunlin", "explain", "10.0.0.0/33"],
        &["dunlin", "status", "-o", "xml"],
        &["dunlin", "agent", "--metrics-addr", "9179"],
        &["dunlin", "agent", "--cluster", "etcd"],
    ] {
        let error = Cli::try_parse_from(wrong).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{wrong:?}: {error}");
    }
    let error = Cli::try_parse_from(["dunlin"]).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_subject_is_a_prefix_an_address_or_a_name() {
    assert_eq!(
        "10.1.2.3/16".parse(),
        Ok(Subject::Prefix("10.1.0.0/16".parse().unwrap()))
    );
    assert_eq!(
        "2001:db8::1".parse(),
        Ok(Subject::Address("2001:db8::1".parse().unwrap()))
    );
    assert_eq!("tor-1".parse(), Ok(Subject::Name("tor-1".into())));
    let service = Subject::Service {
        namespace: "shop".into(),
        name: "web".into(),
    };
    assert_eq!("shop/web".parse(), Ok(service.clone()));
    assert_eq!("Service/shop/web".parse(), Ok(service));
    for wrong in [
        "Shop/web",
        "10.1.0.0/33",
        "10.1/16",
        "shop/",
        "a/b/c",
        "fd00::/129",
    ] {
        assert!(wrong.parse::<Subject>().is_err(), "{wrong}");
    }
}

#[test]
fn the_socket_may_stand_before_or_behind_the_command() {
    for line in [
        ["dunlin", "--socket", "/s", "status"],
        ["dunlin", "status", "--socket", "/s"],
    ] {
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.socket.to_str(), Some("/s"));
    }
}

#[test]
fn an_agents_metrics_can_be_turned_off() {
    let cli = Cli::try_parse_from(["dunlin", "agent", "--metrics-addr", "off"]).unwrap();
    let Command::Agent(options) = cli.command else {
        panic!("{cli:?}");
    };
    assert_eq!(options.metrics_addr, MetricsAddr(None));
}
