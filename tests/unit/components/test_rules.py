"""Rules files: what a user's file can do, and the errors for a file that cannot be used."""

import pytest

from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.frame_masks import frame_masks
from scoreprof_nb.components.rule_set import Pattern, unqualified
from scoreprof_nb.components.rules import RulesError, load_rules, rule_text
from scoreprof_nb.engines.sglang_jax_analysis import RULES_FILE
from scoreprof_nb.stacks.table import Frame
from tests.support.synthetic import component_of, frames_of

PREFIX_CACHE = (
    "run_scheduler_process@scheduler.py > Scheduler.event_loop_overlap@scheduler.py > "
    "RadixCache.match_prefix@radix_cache.py"
)


def write(tmp_path, text):
    path = tmp_path / "branch.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_own_rules_load_and_every_component_but_unclassified_can_be_reached():
    """Broken: a component can never be reached by the kit's own rules."""
    reached = {rule.component for rule in load_rules().rules}
    assert reached == set(CATALOG.stack_names) - {"unclassified"}


def test_user_rule_wins_over_the_kits_own(tmp_path):
    """Broken: the kit's rule overrides the user's."""
    mine = write(tmp_path, '[[rule]]\ncomponent = "host_prep"\nany = ["match_prefix@/radix_cache.py"]\n')
    assert component_of("scheduler", "main", PREFIX_CACHE) == "batch"
    assert component_of("scheduler", "main", PREFIX_CACHE, load_rules(mine)) == "host_prep"


def test_user_rule_leaves_the_kits_own_in_force_elsewhere(tmp_path):
    """Broken: a user's rule switches off the kit's own elsewhere."""
    mine = write(tmp_path, '[[rule]]\ncomponent = "host_prep"\nany = ["my_branch_function"]\n')
    assert component_of("scheduler", "main", PREFIX_CACHE, load_rules(mine)) == "batch"


def test_user_rule_for_a_role_does_not_touch_other_roles(tmp_path):
    """Broken: a user's rule for one role changes another."""
    mine = write(tmp_path, '[[rule]]\ncomponent = "logging"\nprocess = ["http"]\nany = ["match_prefix"]\n')
    assert component_of("scheduler", "main", PREFIX_CACHE, load_rules(mine)) == "batch"


def test_user_role_wins_and_marks_add_up(tmp_path):
    """Broken: a user's role loses to the kit's, or removes its marks."""
    mine = write(
        tmp_path,
        '[[process]]\nrole = "router"\ncommand = ["sgl_jax.launch_server"]\n'
        '[marks]\ndecode = ["my_decode"]\n',
    )
    own, with_mine = load_rules(), load_rules(mine)
    assert next(
        rule.role for rule in with_mine.processes if rule.matches("", "sgl_jax.launch_server", 0)
    ) == ("router")
    assert bin(with_mine.marks["decode"]).count("1") == bin(own.marks["decode"]).count("1") + 1


RULE = '[[rule]]\ncomponent = "http"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[[rule]]\ncomponent = "htttp"\nany = ["f"]\n',
            "rule 1: component 'htttp': no [[component]] defines it; did you mean 'http'? the known ones are http, ",
        ),
        ('[[rule]]\nany = ["f"]\n', "rule 1: component: is required"),
        (
            "[[rule]]\ncomponent = 3\nany = ['f']\n",
            "rule 1: component: input should be a valid string, not 3",
        ),
        (RULE + 'any = ["f"]\nfunction = "g"\n', "rule 1: function: unknown key; the keys are and, any, "),
        (
            '[[rules]]\ncomponent = "http"\n',
            ": rules: unknown key; the keys are component, marks, process, rule, thread",
        ),
        ('[[process]]\nrole = "x"\nnames = ["x"]\n', "process 1: names: unknown key"),
        (RULE, "rule 1: needs any or leaf"),
        (RULE + 'any = ["f"]\n' + RULE + 'none = ["f"]\n', "rule 2: needs any or leaf"),
        (RULE + "any = []\n", "rule 1: needs any or leaf"),
        (RULE + 'any = [""]\n', "rule 1: any: '' is an empty pattern"),
        (RULE + 'any = ["f", "@"]\n', "rule 1: any: '@' is an empty pattern"),
        (RULE + 'any = ["f"]\nnone = [""]\n', "rule 1: none: '' is an empty pattern"),
        (RULE + 'any = ["f"\n', ": Unclosed array"),  # tomllib's own words
        (RULE + 'any = "f"\n', "rule 1: any: must be a list of strings, not 'f'"),
        (RULE + "any = [1]\n", "rule 1: any: input should be a valid string, not 1"),
        (RULE + 'any = ["f"]\nprocess = "http"\n', "rule 1: process: must be a list of strings, not 'http'"),
        ('[rule]\ncomponent = "http"\nany = ["f"]\n', "rule: must be written [[rule]]"),
        ("rule = [1]\n", "rule 1: must be written [[rule]]"),
        ('[[process]]\ncommand = ["x"]\n', "process 1: role: is required"),
        ('[[thread]]\nrole = ""\n', "thread 1: role: must not be empty"),
        ('[[thread]]\nrole = "x"\nprocess = ["http"]\n', "thread 1: process: input should be a valid string"),
        ('[[thread]]\nrole = "x"\nname = "x"\n', "thread 1: name: must be a list of strings, not 'x'"),
        ("marks = 1\n", "marks: must be a table"),
        ('[marks]\ndecode = "f"\n', "marks: decode: must be a list of strings, not 'f'"),
        ('[marks]\ndecode = [""]\n', "marks: decode: '' is an empty pattern"),
        (
            RULE + 'any = ["f"]\nprocess = ["shceduler"]\n',
            "rule 1: process role 'shceduler': no [[process]] defines it; did you mean 'scheduler'? the known ones are ",
        ),
        (
            RULE + 'any = ["f"]\n' + RULE + 'any = ["f"]\nthread = ["main", "mian"]\n',
            "rule 2: thread role 'mian': no [[thread]] defines it; did you mean 'main'? the known ones are ",
        ),
        (
            '[marks]\ndecod = ["f"]\n',
            "marks: mark 'decod': it has no meaning; did you mean 'decode'? the known ones are decode",
        ),
        ('[marks]\nqqq = ["f"]\n', "marks: mark 'qqq': it has no meaning; the known ones are decode"),
    ],
)
def test_an_error_names_the_file_the_entry_and_the_field(tmp_path, text, says):
    """Broken: the user does not learn which entry and field of the file are wrong."""
    path = write(tmp_path, text)
    with pytest.raises(RulesError) as raised:
        load_rules(path)
    assert str(raised.value).startswith(path)
    assert "\n" not in str(raised.value).removesuffix("\n")
    assert says in str(raised.value)


def test_rules_may_name_roles_of_their_own_file_whatever_the_order(tmp_path):
    """Broken: a branch's new process cannot have rules."""
    mine = write(
        tmp_path,
        '[[rule]]\ncomponent = "http"\nany = ["f"]\nprocess = ["router"]\nthread = ["io"]\n'
        '[[process]]\nrole = "router"\ncommand = ["router"]\n'
        '[[thread]]\nrole = "io"\nname = ["io"]\n',
    )
    assert {"router", "scheduler", "other"} <= load_rules(mine).process_roles
    assert {"io", "forward"} <= load_rules(mine).thread_roles


@pytest.mark.parametrize(
    "leaf", ["brand_new@branch.py", "Mixer.<locals>.<lambda>@/opt/my branch/new.py", 'odd"name@<string>']
)
def test_text_of_a_rule_can_be_pasted_and_matches(tmp_path, leaf):
    """Broken: the rule that the report offers is refused, or does not match the stack it stands beside."""
    stack = f"run_scheduler_process@/scheduler.py > {leaf}"
    assert component_of("scheduler", "main", stack) == "unclassified"
    text = rule_text(load_rules(), "scheduler", "main", frames_of(stack)[-1])
    assert load_rules(write(tmp_path, text)).rules[0].component == "unclassified"
    mine = write(tmp_path, text.replace('"unclassified"', '"batch"'))
    assert component_of("scheduler", "main", stack, load_rules(mine)) == "batch"


def test_text_of_a_rule_leaves_out_roles_that_no_entry_defines(tmp_path):
    """A thread without an entry is called by its own name, which a rule cannot ask for."""
    text = rule_text(load_rules(), "other", "my_pool", Frame("work", "pool.py", 3))
    assert "thread" not in text
    assert load_rules(write(tmp_path, text)).rules[0].processes == {"other"}


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path):
    """Broken: a missing or unreadable rules file gives a traceback."""
    with pytest.raises(RulesError, match=r"nowhere\.toml: .*No such file"):
        load_rules(str(tmp_path / "nowhere.toml"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RulesError, match=r"binary\.toml: "):
        load_rules(str(binary))


def test_excluded_that_is_no_boolean_is_refused(tmp_path):
    """Broken: ``excluded = "true"`` is read as false, and the process stays in every figure."""
    mine = write(tmp_path, '[[process]]\nrole = "x"\ncommand = ["x"]\nexcluded = "true"\n')
    with pytest.raises(RulesError, match=r"process 1: .*excluded"):
        load_rules(mine)


@pytest.mark.parametrize(
    ("pattern", "name", "file", "matches"),
    [
        ("recv_requests", "Scheduler.recv_requests", "/a/scheduler.py", True),
        ("recv_requests", "recv_requests", "scheduler.py", True),
        ("recv_requests", "_recv_requests", "scheduler.py", False),
        ("recv", "recv_requests", "scheduler.py", False),
        ("recv_*", "Scheduler.recv_requests", "scheduler.py", True),
        ("recv_*", "recv_pyobj.<locals>.inner", "socket.py", False),
        ("run@/scheduler.py", "Loop.run", "scheduler.py", True),
        ("run@/scheduler.py", "Loop.run", "my_scheduler.py", False),
        ("run@/scheduler.py", "Loop.stop", "scheduler.py", False),
        ("@/zmq/", "anything", "zmq/sugar/socket.py", True),
        ("@/zmq/", "anything", "/venv/site-packages/zmq/sugar/socket.py", True),
        ("<genexpr>", "Scheduler.get_new_batch_prefill.<locals>.<genexpr>", "scheduler.py", True),
    ],
)
def test_pattern(pattern, name, file, matches):
    """Broken: a rule matches another function than it names, or not the one it names."""
    assert frame_masks([Pattern.parse(pattern)], [Frame(name, file)]) == [int(matches)]


def test_frames_that_share_a_function_or_a_file_have_masks_of_their_own():
    """Broken: two frames of one function or file get each other's patterns."""
    patterns = [Pattern.parse(text) for text in ("run@/a.py", "run", "@/a.py", "r*@/b.py", "[r]un", "")]
    frames = [Frame(name, file) for name in ("A.run", "rest", "[r]un") for file in ("/x/a.py", "b.py")]
    assert [f"{mask:06b}"[::-1] for mask in frame_masks(patterns, frames)] == [
        "111011",
        "010111",
        "001001",
        "000101",
        "001001",
        "000001",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Scheduler.recv_requests", "recv_requests"),
        ("recv_requests", "recv_requests"),
        ("f.<locals>.g", "g"),
        ("<module>", "<module>"),
        ("odd.", "odd."),
        ("", ""),
    ],
)
def test_unqualified(name, expected):
    assert unqualified(name) == expected


def test_own_rules_file_is_part_of_the_package():
    """Broken: an installed kit has no rules."""
    assert RULES_FILE.is_file()
