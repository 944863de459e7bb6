"""Settings: what a user writes, and what the server makes of it."""

import logging
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from geartrain.cli.gearmand import DEFAULTS
from geartrain.errors import ConfigError
from geartrain.server.arguments import parse_arguments
from geartrain.server.config import Address, Config, attempts, parse_address
from geartrain.server.options import BY_LONG, BY_SHORT, CONVERTERS, OPTIONS, Option
from geartrain.server.process import check
from geartrain.server.sources import Settings, gather
from geartrain.server.texts import help_text, markdown_table, toml_template
from tests.services import program

DOCS = Path(__file__).parents[2] / "docs"


def settings(*arguments: str, env: Mapping[str, str] | None = None, default_file: str = "") -> Settings:
    return gather(parse_arguments(arguments), env or {}, default_file=default_file)


def config(*arguments: str, env: Mapping[str, str] | None = None) -> Config:
    return settings(*arguments, env=env).config


def refusal(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(*arguments, env=env)
    return str(caught.value)


def notes(level: int, found: Settings) -> list[str]:
    return [note.text for note in found.notes if note.level == level]


class TestFlags:
    @pytest.mark.parametrize("arguments", [("--port=4999",), ("--port", "4999"), ("-p4999",), ("-p", "4999")])
    def test_a_value_may_stand_where_gearmand_takes_it(self, arguments: tuple[str, ...]) -> None:
        assert config(*arguments).port == 4999

    def test_short_flags_may_stand_together_with_a_value_at_the_end(self) -> None:
        found = config("-dRp4999")
        assert (found.daemon, found.round_robin, found.port) == (True, True, 4999)

    def test_a_value_may_look_like_an_option(self) -> None:
        assert config("--job-retries", "-1").job_retries == 0
        assert config("-j", "-1").job_retries == 0

    def test_listen_may_be_given_several_times(self) -> None:
        found = config("-L", "127.0.0.1", "--listen", "[::1]:4731,unix:/run/g.sock")
        assert found.listen == ("127.0.0.1", "[::1]:4731", "unix:/run/g.sock")

    def test_a_port_may_be_the_name_of_a_service(self) -> None:
        assert config("-p", "http").port == 80

    def test_sizes_have_units(self) -> None:
        assert config("--max-packet=64M").max_packet == 64 << 20
        assert config("--max-packet=1KiB").max_packet == 1024

    def test_queue_options_are_handed_on_as_they_are_and_only_those_that_were_given(self) -> None:
        found = config("-q", "libsqlite3", "--libsqlite3-db=/q.db", "--store-queue-on-shutdown")
        assert dict(found.queue_options) == {"libsqlite3-db": "/q.db", "store-queue-on-shutdown": "1"}
        assert dict(config("-q", "libtokyocabinet", "--libtokyocabinet-optimize=no").queue_options) == {}

    def test_the_protocol_module_http_opens_http(self) -> None:
        assert config("-r", "http", "--http-port=81").http
        assert not config("-r", "none").http

    def test_keepalive_is_on_until_it_is_switched_off(self) -> None:
        assert config().keepalive
        assert config("--keepalive", "--keepalive-idle=30").keepalive_idle == 30
        assert config("--keepalive-idle=-1").keepalive_idle is None
        assert not config("--no-keepalive").keepalive

    def test_at_and_a_name_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "conf").write_text("--port=4999")
        assert config(f"@{tmp_path}/conf").port == 4999

    def test_help_and_version_answer_even_where_other_settings_are_wrong(self) -> None:
        assert settings("--version", "--port=x").action == "version"
        assert settings("-h").action == "help"
        assert settings("--check-args", "--help").action == "check"


# What the user types, and what gearmand says to it. It adds its program's name in front.
REFUSED = [
    (["--bogus"], "unrecognised option '--bogus'"),
    (["--job-retrie=1"], "unrecognised option '--job-retrie=1'"),
    (["extra"], "unrecognised option 'extra'"),
    (["-v"], "unrecognised option '-v'"),
    (["-R1"], "unrecognised option '-R1'"),
    (["-p"], "the required argument for option '--port' is missing"),
    (["--threads="], "the argument for option '--threads' should follow immediately after the equal sign"),
    (["--help=1"], "option '--help' does not take any arguments"),
    (["--keepalive=1"], "option '--keepalive' does not take any arguments"),
    (["-p", "1", "-p", "2"], "option '--port' cannot be specified more than once"),
    (["-b", "x"], "the argument ('x') for option '--backlog' is invalid"),
    (["--backlog", "4 "], "the argument ('4 ') for option '--backlog' is invalid"),
    (["--verbose=bogus"], "Invalid value for --verbose supplied"),
    (["-r", "bogus", "-l", "stderr", "-L", "127.0.0.1", "-p", "0"], "Unknown protocol module : bogus"),
    (["--hashtable-buckets=0"], "hashtable-buckets has to be greater than 0"),
    (["--config-file=/nonexistent"], "Could not open configuration file."),
]


class TestRefusals:
    @pytest.mark.parametrize(("arguments", "text"), REFUSED, ids=lambda value: " ".join(value)[:30])
    def test_the_words_are_those_of_gearmand(self, arguments: list[str], text: str) -> None:
        assert refusal(*arguments).startswith(text)

    @pytest.mark.parametrize(("arguments", "text"), REFUSED, ids=lambda value: " ".join(value)[:30])
    def test_gearmand_itself_uses_these_words(self, arguments: list[str], text: str, tmp_path: Path) -> None:
        gearmand = program("gearmand", "gearman-job-server", "/usr/sbin")
        arguments = [*arguments, "-P", str(tmp_path / "pid")] if arguments[-1] != "-p" else arguments
        ended = subprocess.run([gearmand, *arguments], capture_output=True, text=True, timeout=20, check=False)
        assert ended.returncode == 1
        assert f"gearmand: {text}" in ended.stdout + ended.stderr

    def test_a_misspelt_option_is_told_the_nearest(self) -> None:
        assert refusal("--prot=1").endswith("Did you mean --port?")

    def test_values_out_of_range_are_named(self) -> None:
        assert "'99999'" in refusal("-p", "99999")
        assert "max-packet" in refusal("--max-packet=5G")
        assert "'soon'" in refusal("--drain-timeout=soon")
        assert "-1 for no limit" in refusal("--job-retries=-2")

    def test_a_password_is_never_repeated(self) -> None:
        assert "hush" not in repr(config("-q", "mysql", "--mysql-password=hush"))
        assert "hush" not in toml_template(settings("-q", "mysql", "--mysql-password=hush"))


class TestRetries:
    @pytest.mark.parametrize(
        ("compat", "retries", "expected"),
        [("2.0", -1, 0), ("2.0", 0, 1), ("2.0", 1, 1), ("2.0", 3, 3), ("1.1", 0, 0), ("1.1", -1, 0), ("1.1", 3, 3)],
    )
    def test_the_number_means_what_it_means_in_that_gearmand(self, compat: str, retries: int, expected: int) -> None:
        assert attempts(retries, compat) == expected
        assert config(f"--compat={compat}", f"--job-retries={retries}").job_retries == expected

    def test_without_the_option_there_is_no_limit_in_either(self) -> None:
        assert config().job_retries == config("--compat=1.1").job_retries == 0

    def test_a_zero_from_the_days_of_1_1_is_warned_about(self) -> None:
        assert "job-retries 0" in notes(logging.WARNING, settings("-j0"))[0]
        assert not notes(logging.WARNING, settings("-j0", "--compat=1.1"))


class TestNotes:
    def test_an_option_without_a_meaning_is_accepted_and_said_so(self) -> None:
        found = settings("-t", "8", "--hashtable-buckets=1733003")
        assert [text.split()[0] for text in notes(logging.INFO, found)] == ["threads", "hashtable-buckets"]

    def test_queue_options_without_a_durable_queue_are_warned_about(self) -> None:
        assert "memory alone" in notes(logging.WARNING, settings("--libsqlite3-db=/q.db"))[0]


DOCKER = {
    "PORT": "4999", "VERBOSE": "INFO", "QUEUE_TYPE": "mysql", "THREADS": "4", "BACKLOG": "64",
    "FILE_DESCRIPTORS": "2048", "JOB_RETRIES": "5", "ROUND_ROBIN": "1", "WORKER_WAKEUP": "2", "KEEPALIVE": "1",
    "KEEPALIVE_IDLE": "30", "KEEPALIVE_INTERVAL": "10", "KEEPALIVE_COUNT": "5", "MYSQL_HOST": "db",
    "MYSQL_PORT": "3307", "MYSQL_USER": "gearman", "MYSQL_PASSWORD": "hush", "MYSQL_DB": "g", "MYSQL_TABLE": "q",
}  # fmt: skip


class TestEnvironment:
    def test_gearmands_names(self) -> None:
        names = {
            "GEARMAND_PORT": "4999",
            "GEARMAND_CA_CERTIFICATE": "/ca",
            "GEARMAND_SERVER_PEM": "/pem",
            "GEARMAND_SERVER_KEY": "/key",
        }
        found = config("--ssl", env=names)
        assert (found.port, found.ssl_ca_file, found.ssl_certificate, found.ssl_key) == (4999, "/ca", "/pem", "/key")

    def test_certificates_in_the_environment_do_not_turn_tls_on(self) -> None:
        found = settings(env={"GEARMAND_SERVER_PEM": "/pem"})
        assert not found.config.ssl
        assert "$GEARMAND_SERVER_PEM" in notes(logging.INFO, found)[0]

    @pytest.mark.parametrize("prefix", ["GEARMAND_", "GEARMAN_"])
    def test_names_of_the_docker_images(self, prefix: str) -> None:
        found = config(env={prefix + name: value for name, value in DOCKER.items()})
        assert found == Config(
            port=4999, verbose="INFO", queue_type="mysql", backlog=64, file_descriptors=2048, job_retries=5,
            round_robin=True, worker_wakeup=2, keepalive_idle=30, keepalive_interval=10, keepalive_count=5,
            queue_options={
                "mysql-host": "db", "mysql-port": "3307", "mysql-user": "gearman", "mysql-password": "hush",
                "mysql-db": "g", "mysql-table": "q",
            },
        )  # fmt: skip

    def test_bare_names_count_only_where_that_is_asked_for(self) -> None:
        names = {"VERBOSE": "INFO", "LISTEN_PORT": "4999", "KEEPALIVE": "0"}
        assert config(env=names) == Config()
        found = config(env={**names, "GEARTRAIN_BARE_ENV": "1"})
        assert (found.verbose, found.port, found.keepalive) == ("INFO", 4999, False)

    @pytest.mark.parametrize("name", ["GEARMAND_PORT", "GEARMAN_PORT", "GEARMAND_MYSQL_PORT", "GEARMAND_HTTP_PORT"])
    def test_the_address_of_a_kubernetes_service_does_no_harm(self, name: str) -> None:
        found = settings(env={name: "tcp://10.0.0.7:4730"})
        assert found.config == Config()
        assert name in notes(logging.INFO, found)[0]

    def test_a_secret_may_stand_in_a_file(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("hush\n")
        for found in (
            config("-q", "mysql", env={"GEARMAND_MYSQL_PASSWORD_FILE": str(secret)}),
            config("-q", "mysql", "--mysql-password-file", str(secret)),
        ):
            assert dict(found.queue_options) == {"mysql-password": "hush"}
        assert "/nowhere" in refusal("--redis-password-file=/nowhere")

    def test_a_secret_given_twice_is_an_error(self) -> None:
        text = refusal(env={"GEARMAND_MYSQL_PASSWORD": "x", "GEARMAN_MYSQL_PASSWORD_FILE": "/y"})
        assert "$GEARMAND_MYSQL_PASSWORD" in text
        assert "$GEARMAN_MYSQL_PASSWORD_FILE" in text

    def test_an_empty_variable_is_none(self) -> None:
        assert config(env={"GEARMAND_PORT": ""}) == Config()

    def test_a_wrong_value_names_the_variable(self) -> None:
        assert refusal(env={"GEARMAND_BACKLOG": "many"}).startswith("$GEARMAND_BACKLOG: ")


class TestFiles:
    def test_gearmands_file_is_read_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "gearmand.conf"
        path.write_text("--listen=0.0.0.0\n\t--port=4999\r\n--verbose INFO\n-R --queue-type=builtin\n# --port=1\n")
        found = config("--config-file", str(path))
        assert (found.listen, found.port, found.verbose, found.round_robin) == (("0.0.0.0",), 4999, "INFO", True)

    def test_words_without_an_option_are_passed_over_as_gearmand_does_but_not_in_silence(self, tmp_path: Path) -> None:
        path = tmp_path / "gearmand.conf"
        path.write_text('--job-handle-prefix "a b" --port=4999')
        found = settings("--config-file", str(path))
        assert (found.config.job_handle_prefix, found.config.port) == ('"a', 4999)
        assert len(notes(logging.WARNING, found)) == 2

    def test_the_default_file_counts_when_it_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "gearmand.conf"
        assert settings(default_file=str(path)).config.port == 4730
        path.write_text("--port=4999")
        assert settings(default_file=str(path)).config.port == 4999

    @pytest.mark.parametrize("name", ["geartrain.toml", "geartrain.conf"])
    def test_toml_is_known_by_its_name_or_its_content(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        path.write_text(
            '# ours\nport = 4999\nlisten = ["a", "b:1"]\nround_robin = true\nkeepalive = false\n'
            'store-wait = 2.5\nqueue-type = "libsqlite3"\nlibsqlite3-db = "/q.db"\n'
        )
        assert config("--config-file", str(path)) == Config(
            port=4999, listen=("a", "b:1"), round_robin=True, keepalive=False, store_wait=2.5,
            queue_type="libsqlite3", queue_options={"libsqlite3-db": "/q.db"},
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            ("prot = 1", "there is no setting 'prot'. Did you mean port?"),
            ("backlog = 'x'", "the argument ('x') for option '--backlog' is invalid"),
            ("port = { a = 1 }", "port has to be a text, a number"),
            ("port 1", "neither TOML nor a list of arguments"),
            ("daemon = true\nhelp = true", "help works on the command line alone"),
        ],
    )
    def test_an_error_names_the_file_and_the_setting(self, content: str, text: str, tmp_path: Path) -> None:
        path = tmp_path / "x.toml"
        path.write_text(content)
        assert (refused := refusal("--config-file", str(path))).startswith(str(path))
        assert text in refused

    def test_flags_go_before_the_environment_and_that_before_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "x.toml"
        path.write_text("port = 1\nbacklog = 1\nworker-wakeup = 1\nkeepalive = false\nlisten = ['file']")
        env = {"GEARMAND_PORT": "2", "GEARMAND_BACKLOG": "2", "GEARMAND_LISTEN": "env1 env2"}
        found = config("--config-file", str(path), "--port=3", "--keepalive", env=env)
        assert (found.port, found.backlog, found.worker_wakeup, found.keepalive) == (3, 2, 1, True)
        assert found.listen == ("env1", "env2")

    def test_the_printed_file_says_the_same_settings_again(self, tmp_path: Path) -> None:
        before = settings(
            "-p4999", "-L", "a", "-L", "b", "-R", "--no-keepalive", "--job-handle-prefix", 'x"\\y', "--ssl",
            "--ssl-certificate=/c", "--ssl-key=/k", "--max-packet=1M", "-j3", "-q", "redis", "--redis-server=r",
        )  # fmt: skip
        path = tmp_path / "printed.toml"
        path.write_text(toml_template(before))
        assert config("--config-file", str(path)) == before.config

    def test_the_printed_file_does_not_insist_on_the_default_pid_file(self, tmp_path: Path) -> None:
        path = tmp_path / "printed.toml"
        path.write_text(toml_template(gather({}, {}, defaults=DEFAULTS, default_file="")))
        again = gather(parse_arguments(("--config-file", str(path))), {}, defaults=DEFAULTS, default_file="")
        assert again.config.pid_file == "/var/gearmand.pid"
        assert not again.chosen("pid_file")  # so that it is written where that can be done, and no more

    def test_the_template_is_toml_in_every_commented_line_too(self) -> None:
        lines = toml_template(settings()).splitlines()
        examples = [line.removeprefix("# ") for line in lines if line.removeprefix("# ").split(" = ")[0] in BY_LONG]
        assert len(examples) == len([o for o in OPTIONS if not o.action and o.field != "config_file"])
        assert tomllib.loads("\n".join(examples))

    @pytest.mark.parametrize("option", [o for o in OPTIONS if not o.action and o.field != "config_file"])
    def test_each_line_of_the_template_can_be_put_in_force(self, option: Option, tmp_path: Path) -> None:
        start = f"# {option.long} = "
        line = next(line for line in toml_template(settings()).splitlines() if line.startswith(start))
        path = tmp_path / "one.toml"
        path.write_text(line.removeprefix("# "))
        try:
            config("--config-file", str(path))
        except ConfigError:
            # These need others, or a file.
            if not (option.reads or option.long in ("ssl", "ssl-verify-client")):
                raise


def test_a_loop_that_is_not_installed_is_noticed_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"geartrain\[fast\]"):
        check(config("--loop", "uvloop"))


class TestTls:
    FILES = ("--ssl-certificate=/c", "--ssl-key=/k")

    def test_half_a_configuration_is_refused(self) -> None:
        assert "--ssl-key" in refusal("--ssl", "--ssl-certificate=/c")
        assert "--ssl-certificate and --ssl-key" in refusal("--ssl")
        assert "plain text" in refusal(*self.FILES)
        assert "plain text" in refusal("--ssl-verify-client")
        assert "--ssl-ca-file" in refusal("--ssl", *self.FILES, "--ssl-verify-client")

    def test_a_whole_one_is_not(self) -> None:
        assert config("--ssl", *self.FILES, "--ssl-ca-file=/ca", "--ssl-verify-client").ssl_verify_client


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("localhost", Address("localhost", 4730)),
            ("127.0.0.1:4731", Address("127.0.0.1", 4731)),
            ("*:4731", Address("", 4731)),
            (":4731", Address("", 4731)),
            ("[::1]:4731", Address("::1", 4731)),
            ("[::1]", Address("::1", 4730)),
            ("::1", Address("::1", 4730)),
            ("unix:/run/gearmand.sock", Address("", 0, "/run/gearmand.sock")),
        ],
    )
    def test_forms(self, text: str, expected: Address) -> None:
        assert parse_address(text, 4730) == expected

    @pytest.mark.parametrize("text", ["a:b", "a:99999", "[::1", "[::1]x", "unix:", "a:-1"])
    def test_others_are_refused_with_the_address(self, text: str) -> None:
        with pytest.raises(ConfigError, match="address"):
            parse_address(text, 4730)
        assert text in refusal("--listen", text)


class TestTable:
    def test_every_option_of_gearmand_is_here(self) -> None:
        gearmand = program("gearmand", "gearman-job-server", "/usr/sbin")
        help_lines = subprocess.run([gearmand, "--help"], capture_output=True, text=True, check=True).stdout.split("\n")
        found = 0
        for line in help_lines:
            words = line.split()
            if line.startswith("  -") and words[0].startswith("-"):
                long = next(word for word in words if word.startswith("--")).removeprefix("--")
                option = BY_LONG[long]
                if not words[0].startswith("--"):
                    assert BY_SHORT[words[0].removeprefix("-")] is option
                found += 1
        assert found > 45

    def test_names_are_given_once_and_kinds_exist(self) -> None:
        assert len(BY_LONG) == len(OPTIONS)
        assert len(BY_SHORT) == len([option for option in OPTIONS if option.short])
        assert {option.kind for option in OPTIONS} <= set(CONVERTERS)

    def test_every_setting_can_be_given(self) -> None:
        settable = {option.field for option in OPTIONS} | {"http", "check_args", "queue_options"}
        assert set(Config.__dataclass_fields__) <= settable

    def test_help_shows_every_option_and_an_example(self) -> None:
        text = help_text("gearmand")
        assert all(f"--{option.long}" in text for option in OPTIONS)
        assert "gearmand -d -q libsqlite3" in text

    def test_the_guide_for_users_of_gearmand_holds_the_whole_table(self) -> None:
        page = (DOCS / "migrating-from-gearmand.md").read_text(encoding="utf-8")
        assert markdown_table() in page, "the table of options has changed: run scripts/docs"
