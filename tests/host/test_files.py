"""Files under fs.read, fs.write and fs.delete: real ones, and nothing leads out of the granted directory."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_tests import in_trio

from luahost import Grant, Host, Limits, Source
from luahost.ops.files.beneath import Beneath, Leaves

CALL = "local args = ... return function(a) return orcs[a[1]](a[2], a[3]) end"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "src" / "a.py").write_text("import os\nprint('hi')\n")
    (root / "src" / "deep" / "b.py").write_text("x = 1\n")
    (root / "data.bin").write_bytes(b"\xff\x00\xfe")
    (root / ".env").write_text("KEY=secret\n")
    (tmp_path / "outside.txt").write_text("OUTSIDE secret")
    (root / "up").symlink_to("..")
    (root / "slash").symlink_to("/")
    (root / "leak").symlink_to(tmp_path / "outside.txt")
    (root / "inside").symlink_to("src/deep")
    (root / "round").symlink_to("round")
    (root / "absolute").symlink_to(root / "src")
    os.mkfifo(root / "fifo")
    return root


class Files:
    """orcs' file functions, called one by one in a VM of their own."""

    def __init__(self, vm: Any) -> None:
        self.vm = vm

    async def __call__(self, *call: Any) -> Any:
        return await self.vm.run(list(call))


def grants(root: Path, **more: Any) -> list[Grant]:
    return [Grant(kind, roots=[str(root)], **more) for kind in ("fs.read", "fs.write", "fs.delete")]


async def files(host: Host, held: list[Grant]) -> Files:
    return Files(await host.load(Source(CALL), grants=held))


@in_trio
async def test_without_a_grant_nothing_is_touched(root: Path) -> None:
    async with Host() as host:
        ask = await files(host, [])
        for call in (["read", "src/a.py"], ["write", "x", "y"], ["remove", "src"], ["glob", "**"], ["mkdir", "m"]):
            assert (await ask(*call))["error_kind"] == "permission_denied"
    assert (root / "src" / "a.py").exists() and not (root / "x").exists()


@in_trio
async def test_files_are_read_written_moved_and_removed(root: Path) -> None:
    async with Host() as host:
        ask = await files(host, grants(root))
        assert await ask("read", "src/a.py") == {"ok": True, "content": "import os\nprint('hi')\n", "size": 22}
        assert await ask("read", "data.bin") == {"ok": True, "content": b"\xff\x00\xfe", "size": 3}
        assert (await ask("read", "inside/b.py"))["ok"] and (await ask("read", "absolute/a.py"))["ok"]
        assert await ask("write", "new/deep/r.md", "hello") == {"ok": True, "bytes_written": 5}
        assert await ask("write", "new/deep/r.md", b"\xff") == {"ok": True, "bytes_written": 1}
        assert (root / "new" / "deep" / "r.md").read_bytes() == b"\xff"
        assert await ask("mkdir", "m/n") == {"ok": True} and await ask("mkdir", "m/n") == {"ok": True}
        assert await ask("mv", "new/deep", "m/n/moved") == {"ok": True}
        assert (root / "m" / "n" / "moved" / "r.md").exists()
        assert await ask("remove", "m") == {"ok": True} and not (root / "m").exists()
        assert await ask("remove", "leak") == {"ok": True}, "the link goes, not what it leads to"
    assert (root.parent / "outside.txt").read_text() == "OUTSIDE secret"
    assert not list(root.rglob(".luahost-*")), "no half-written file is left"


OUTSIDE = [
    *(
        "leak",
        "up/outside.txt",
        "slash/etc/passwd",
        "slash",
        "../outside.txt",
        "./../outside.txt",
        "src/../../outside.txt",
    ),
    *(
        "/etc/passwd",
        "/etc/nothing-there",
        "//etc/passwd",
        "/proc/self/environ",
        "~/.ssh/id_rsa",
        "x\0/../../etc/passwd",
    ),
    *("nope/../../outside.txt", "round", ".env", "inside/../../../outside.txt"),
]


@in_trio
async def test_nothing_leads_out_of_the_root(root: Path) -> None:
    before = sorted(os.listdir(root.parent))
    async with Host() as host:
        ask = await files(host, grants(root))
        for path in OUTSIDE:
            read = await ask("read", path)
            assert read["error_kind"] == "path_not_allowed", path
            assert "content" not in read and "secret" not in str(read)
            assert (await ask("write", path, "x"))["error_kind"] == "path_not_allowed", path
            if path not in ("leak", "slash", "round"):  # of a link, the link itself is moved or removed
                assert (await ask("remove", path))["error_kind"] == "path_not_allowed", path
                assert (await ask("mv", path, "got"))["error_kind"] == "path_not_allowed", path
            assert (await ask("mv", "src/a.py", path))["ok"] is False or path in ("leak", "slash", "round"), path
            (root / "src" / "a.py").write_text("again")
        for path in (".", "", "/", "..", str(root)):
            assert (await ask("remove", path))["ok"] is False and (await ask("mv", path, "got"))["ok"] is False
    assert (
        sorted(os.listdir(root.parent)) == before and (root.parent / "outside.txt").read_text() == "OUTSIDE secret"
    )
    assert (root / ".env").read_text() == "KEY=secret\n"


@in_trio
async def test_a_root_that_a_child_is_narrowed_to_leads_nowhere_else_when_it_is_a_link(root: Path) -> None:
    (root.parent / "away").mkdir()
    (root.parent / "away" / "x").write_text("OUTSIDE secret")
    (root / "away").symlink_to(root.parent / "away")
    held = [*grants(root), Grant("exec", roots=[str(root)]), Grant("spawn")]
    parent = Source(
        "return function(a) local caps = {} for _, k in ipairs { 'fs.read', 'fs.write', 'fs.delete', 'exec' } do\n"
        "caps[k] = { roots = { a.root } } end\n"
        "local c = orcs.spawn_child { id = a.id, script = a.script, caps = caps } return c:run(a.root).result end"
    )
    child = (
        "return function(at) return { orcs.read(at .. '/x').ok, orcs.grep('secret', at).ok, orcs.glob('*', at).ok,\n"
        "orcs.write(at .. '/new', 'x').ok, orcs.exec_argv('true', {}, { cwd = at }).ok, orcs.remove(at .. '/x').ok,\n"
        "orcs.remove(at).ok } end"
    )
    async with Host() as host:
        vm = await host.load(parent, grants=held)
        for id, place, done in (("c", "away", [False] * 7), ("control", "near", [True] * 6 + [False])):
            (root / "near").mkdir(exist_ok=True)
            (root / "near" / "x").write_text("inside")
            assert await vm.run({"id": id, "script": child, "root": str(root / place)}) == done, place
    assert sorted(os.listdir(root.parent / "away")) == ["x"] and (root / "near").is_dir()


@in_trio
async def test_a_key_in_the_hosts_environment_is_no_file(root: Path) -> None:
    (root / "proc").symlink_to("/proc/self")
    async with Host() as host:
        ask = await files(host, [Grant("fs.read", roots=["/"], globs=["**"])])
        for path in ("/proc/self/environ", f"/proc/{os.getpid()}/environ", str(root / "proc" / "environ")):
            assert (await ask("read", path))["error_kind"] == "not_a_file"
        assert (await ask("grep", ".", "/proc/self/environ"))["matches"] == []
        assert (await ask("read", str(root / "src" / "a.py")))["ok"], "the control"


@in_trio
async def test_the_answer_is_the_same_whether_something_is_there_outside_or_not(root: Path) -> None:
    async with Host() as host:
        ask = await files(host, grants(root))
        there, missing = await ask("read", "/etc/passwd"), await ask("read", "/etc/passwx")
    assert there["error"].replace("passwd", "passwx") == missing["error"]


@in_trio
async def test_only_regular_files_are_read_and_replaced(root: Path) -> None:
    async with Host() as host:
        ask = await files(host, grants(root))
        for path in ("fifo", "src", "."):
            assert (await ask("read", path))["error_kind"] == "not_a_file"
            assert (await ask("write", path, "x"))["error_kind"] == "not_a_file"
        assert (await ask("read", "src/a.py/x"))["error_kind"] == "not_a_directory"
        assert (await ask("read", "src/none"))["error_kind"] == "not_found"
        assert (await ask("write", "n" * 300, "x"))["error_kind"] == "invalid_options"


@in_trio
async def test_globs_narrow_what_is_found_and_can_name_hidden_files(root: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("ref: refs/heads/trunk\n")
    async with Host() as host:
        ask = await files(host, [Grant("fs.read", roots=[str(root)], globs=["**/*.py", ".env"])])
        assert (await ask("read", ".env"))["ok"] and (await ask("read", "src/a.py"))["ok"]
        assert (await ask("read", "data.bin"))["error_kind"] == "path_not_allowed"
        assert (await ask("glob", "**"))["files"] == ["src/a.py", "src/deep/b.py"]
        assert (await ask("git_info"))["branch"] == "trunk", "of .git it tells the branch, whatever the globs say"
        relative = [each["relative"] for each in await ask("scan_dir", {"path": "."})]
        assert relative == [".env", "src", "src/a.py", "src/deep", "src/deep/b.py"]


@in_trio
async def test_grep_tells_file_line_and_text_and_no_pattern_explodes(root: Path) -> None:
    (root / "long.txt").write_text("a" * 200_000 + "!")
    async with Host() as host:
        ask = await files(host, grants(root))
        found = await ask("grep", "^pri.t", "src")
        assert found["matches"] == [{"path": "src/a.py", "line_number": 2, "line": "print('hi')"}]
        assert (await ask("grep", "secret", "."))["count"] == 0, "hidden files are not searched"
        for pattern in ("(a+)+$", "(a|a)*b", "(?:a?){50}a{50}b"):
            assert (await ask("grep", pattern, "long.txt"))["ok"] is True
        for pattern in ("(" * 500, "(?=x)", "\\1", "x{1001}"):
            assert (await ask("grep", pattern, "src"))["error_kind"] == "invalid_options"
        assert (await ask("glob", "../**"))["error_kind"] == "path_not_allowed"
        assert (await ask("glob", "src/deep/*.py"))["files"] == ["src/deep/b.py"]
        assert (await ask("glob", "src/a.py"))["files"] == ["src/a.py"]
        assert (await ask("glob", "src/none/*.py"))["files"] == (await ask("glob", "src/a.py/*"))["files"] == []
        assert (await ask("glob", "*.py", "none"))["error_kind"] == "not_found"
        assert (await ask("glob", "*a" * 60 + "b"))["files"] == []


@in_trio
async def test_a_search_ends_with_its_grant_also_within_a_file(root: Path) -> None:
    for n in range(6):
        (root / f"f{n}").write_bytes(b"\n" * (8 << 20))
    grant = Grant("fs.read", roots=[str(root)])
    async with Host() as host:
        ask = await files(host, [grant])

        async def revoke() -> None:
            await trio.sleep(0.3)
            grant.revoke("enough")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(revoke)
            with trio.fail_after(10):  # all of it takes longer
                assert (await ask("grep", "zzz", "."))["error_kind"] == "capability_revoked"


@in_trio
async def test_what_is_left_out_of_a_scan_is_left_out_with_all_below_it(root: Path) -> None:
    for n in range(30):
        (root / "many" / f"d{n}" / "below").mkdir(parents=True)
    async with Host() as host:
        ask = await files(host, grants(root))
        assert await ask("scan_dir", {"path": "many", "exclude": ["d*"]}) == []
        kept = await ask("scan_dir", {"path": "many", "exclude": ["d?*"], "max_depth": 2})
        assert kept == [] and len(await ask("scan_dir", {"path": "many", "max_depth": 1})) == 30


@in_trio
async def test_bytes_are_a_budget(root: Path) -> None:
    async with Host() as host:
        held = [
            Grant("fs.read", roots=[str(root)], max_bytes=30),
            Grant("fs.write", roots=[str(root)], max_bytes=10),
        ]
        ask = await files(host, held)
        assert (await ask("read", "src/a.py"))["ok"]
        short = await ask("read", "src/a.py")
        assert short["error_kind"] == "budget_exceeded" and short["detail"]["rule"] == "max_bytes"
        assert (await ask("write", "x", "12345678"))["ok"]
        assert (await ask("write", "y", "123"))["error_kind"] == "budget_exceeded"
        assert not (root / "y").exists()
        assert held[0].usage() == {"calls": 1, "bytes": 22, "running": 0}
    assert Grant("fs.write").remaining()["bytes"] == 256 << 20, (
        "a script that nobody limited still cannot fill a disk"
    )


@in_trio
async def test_reads_that_come_together_do_not_share_the_last_bytes(root: Path) -> None:
    for n in range(20):
        (root / f"f{n}").write_text("x" * 90)
    script = (
        "return function() local all = {} for n = 0, 19 do all[n + 1] = function() return orcs.read('f' .. n).ok end end\n"
        "local read = 0 for _, done in ipairs(orcs.all(all)) do read = read + (done and 1 or 0) end\n"
        "return { read, orcs.grep('x', '.').error_kind or 'told' } end"
    )
    async with Host() as host:
        for most, told in ((200, [2, "budget_exceeded"]), (10_000, [20, "told"])):
            grant = Grant("fs.read", roots=[str(root)], max_bytes=most)
            vm = await host.load(Source(script), grants=[grant])
            assert await vm.run() == told
            assert grant.usage()["bytes"] <= most


@in_trio
async def test_files_that_together_are_larger_than_the_heap_are_read_one_after_the_other(root: Path) -> None:
    for n in range(40):
        (root / f"f{n}").write_bytes(b"x" * (1 << 20))
    script = (
        "return function() local names = {} for n = 0, 39 do names[n + 1] = 'f' .. n end local size = 0\n"
        "for _, each in ipairs(orcs.map(names, function(n) return #orcs.read(n).content end, { concurrency = 40 })) do\n"
        "size = size + each end return size end"
    )
    async with Host() as host:
        small = Limits(memory_bytes=8 << 20, value_bytes=2 << 20)
        vm = await host.load(Source(script), grants=[Grant("fs.read", roots=[str(root)])], limits=small)
        assert await vm.run() == 40 << 20


@in_trio
async def test_a_name_that_is_no_text_does_not_hide_the_others(root: Path) -> None:
    (root / os.fsdecode(b"odd\xff.py")).write_text("import odd\n")
    async with Host() as host:
        ask = await files(host, grants(root))
        assert (await ask("glob", "**/*.py"))["files"] == ["src/a.py", "src/deep/b.py"]
        assert (await ask("grep", "import", "."))["count"] == 1
        assert all(each["relative"] != "odd" for each in await ask("scan_dir", {"path": "."}))


@in_trio
async def test_a_script_does_not_write_what_it_would_later_run(root: Path) -> None:
    (root / "agent.lua").write_text(CALL)
    async with Host() as host:
        ask = Files(await host.load(root / "agent.lua", grants=grants(root)))
        for path in ("agent.lua", "helper.lua", "src/init.lua"):
            assert (await ask("write", path, "return 1"))["error_kind"] == "path_not_allowed"
            assert (await ask("mv", "src/a.py", path))["error_kind"] == "path_not_allowed"
        assert (await ask("remove", "agent.lua"))["error_kind"] == "path_not_allowed"
        assert (await ask("read", "agent.lua"))["ok"]
        ask = Files(await host.load(root / "agent.lua", grants=grants(root, globs=["*.lua"])))
        assert (await ask("write", "helper.lua", "return 1"))["ok"], "unless a glob says so"


@in_trio
async def test_a_module_does_not_come_in_a_directory_or_by_another_name_of_its_own(root: Path) -> None:
    (root / "home").mkdir()
    (root / "home" / "agent.lua").write_text(CALL)
    (root / "other").symlink_to("home")
    (root.parent / "link").symlink_to(root)
    for home, names in (
        (root / "home", root),
        (root / "other", root),
        (root / "home", root.parent / "link"),
        (root.parent / "link" / "home", root),
    ):
        async with Host() as host:
            ask = Files(await host.load(home / "agent.lua", grants=grants(names)))
            assert (await ask("write", f"{names}/made/evil.lua", "return 1"))["ok"], "not beside the script"
            for path in (f"{names}/home/helper.lua", f"{names}/other/helper.lua"):
                assert (await ask("write", path, "return 1"))["error_kind"] == "path_not_allowed"
            assert (await ask("mv", f"{names}/made", f"{names}/home/lib"))["error_kind"] == "path_not_allowed"
            assert (await ask("mv", f"{names}/made", f"{names}/elsewhere"))["ok"], "the control"
            assert (await ask("remove", f"{names}/elsewhere"))["ok"]
    assert sorted(os.listdir(root / "home")) == ["agent.lua"]


@in_trio
async def test_a_directory_is_removed_only_if_all_of_it_may_be(root: Path) -> None:
    (root / "src" / ".keep").write_text("")
    async with Host() as host:
        ask = await files(host, grants(root))
        assert (await ask("remove", "src"))["error_kind"] == "path_not_allowed"
        assert (root / "src" / "a.py").exists()
        assert (await ask("mv", "src", "dst"))["error_kind"] == "path_not_allowed", "nor moved"
        (root / "src" / ".keep").unlink()
        assert (await ask("mv", "src", "dst"))["ok"] and (await ask("mv", "dst", "src"))["ok"]
        assert (await ask("remove", "src"))["ok"]


@in_trio
async def test_a_glob_needs_a_grant_for_the_directories_it_names_and_not_for_those_around(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    async with Host() as host:
        ask = await files(host, [Grant("fs.read", roots=["src"])])
        assert (await ask("glob", "src/**/*.py"))["files"] == ["src/a.py", "src/deep/b.py"]
        assert (await ask("glob", "**/*.py"))["error_kind"] == "path_not_allowed"
        assert (await ask("glob", "leak/*"))["error_kind"] == "path_not_allowed"


@in_trio
async def test_mv_needs_both_grants_and_says_which_is_missing(root: Path) -> None:
    records: list[dict[str, Any]] = []
    async with Host(audit=records.append) as host:
        ask = await files(host, [Grant("fs.write", roots=[str(root)])])
        refused = await ask("mv", "src/a.py", "b.py")
        assert refused["error_kind"] == "permission_denied" and "fs.delete" in refused["error"]
        assert (root / "src" / "a.py").exists()
    assert [(record["capability"], record["decision"]) for record in records] == [
        ("fs.delete", "deny"),
        ("fs.write", "allow"),
    ]


@in_trio
async def test_relative_paths_begin_in_the_hosts_directory_or_in_the_first_root(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    script = Source(
        "return function() return { orcs.pwd or 'none', orcs.read('src/a.py').ok, orcs.read('a.py').ok } end"
    )
    async with Host() as host:
        for roots, told in (
            ([], [str(root), False, False]),
            (["src"], [str(root), True, False]),
            ([str(root.parent)], [str(root), True, False]),
        ):
            vm = await host.load(script, grants=[Grant("fs.read", roots=roots)])
            assert await vm.run() == told
        vm = await host.load(script, grants=[Grant("fs.read")])
        assert await vm.run() == [str(root), True, False], "without roots: what lies below the host's directory"
        assert (await (await host.load(script)).run())[0] == "none"
    monkeypatch.chdir("/")
    async with Host() as host:
        vm = await host.load(script, grants=[Grant("fs.read", roots=[str(root / "src")])])
        assert await vm.run() == ["/", False, False]


def test_a_walk_never_leaves_while_another_process_swaps_directories_for_links(root: Path) -> None:
    """AC5: the same walk, ten thousand times, while `swap` is now a directory and now a link out."""
    (root.parent / "far").mkdir()
    (root.parent / "far" / "f").write_text("FAR")
    (root / "swap").mkdir()
    (root / "swap" / "f").write_text("NEAR")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(root / "swap", root / "kept")
            os.symlink("../far", root / "swap")
            os.unlink(root / "swap")
            os.rename(root / "kept", root / "swap")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = {"near": 0, "refused": 0}
    try:
        for _ in range(5000):
            try:
                with Beneath(str(root)) as held:
                    spot = held.find(("swap", "f"))
                    with open(os.open(spot.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=spot.handle)) as file:
                        assert file.read() == "NEAR"
                    seen["near"] += 1
            except (Leaves, OSError):
                seen["refused"] += 1
    finally:
        stop.set()
        thread.join()
    assert seen["near"] and seen["refused"], seen
