"""Building a plan: where there is no card, what is refused and how, and that Ctrl-C ends it."""

from __future__ import annotations

import signal
import threading
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from livestain.engine.graph import Bit, Wire, compose
from livestain.engine.tensorrt.build import GENERATIONS, Shapes, build_plan, load_builder, targets_of
from livestain.engine.tensorrt.cuda import find_gpu
from livestain.errors import BackendMissingError, EngineError, EngineMemoryError, LivestainError, ModelError, UserError
from tests.engine.tensorrt.fake_builder import PLAN, FakeTensorRt, Severity, install
from tests.models import STRIDE, small_generator


@pytest.fixture(scope="session")
def rtx() -> ModuleType:
    module: ModuleType = pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT for RTX is not installed: would show that it builds without a card"
    )
    return module


def graph_of(generator: onnx.ModelProto | None = None, bit: Bit = "uint16", wire: Wire = "bytes") -> onnx.ModelProto:
    return compose(generator or small_generator(), STRIDE, wire, bit)


def plan_of(module: ModuleType, graph: onnx.ModelProto | None = None, **options: object) -> bytes:
    settings: dict[str, object] = {"targets": ["sm86"], "shapes": Shapes(), "bit": "uint16", **options}
    return build_plan(module, graph or graph_of(), **settings).data  # type: ignore[arg-type]


def generator_with(*nodes: onnx.NodeProto, opset: tuple[str, int] = ("", 20)) -> onnx.ModelProto:
    """A generator of one stain in which ``nodes`` lead from "contrast" to "stains"."""
    plane = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, "y", "x"]) for name in ("contrast", "stains")
    ]
    one = numpy_helper.from_array(np.ones((), np.int32), "one")
    graph = helper.make_graph(nodes, "test", plane[:1], plane[1:], [one])
    opsets = {("", 20), opset}
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*each) for each in sorted(opsets)], ir_version=9)


@pytest.mark.parametrize("bit", ["uint16", "uint8"])
@pytest.mark.parametrize("shapes", [Shapes(), Shapes.only((101, 130))], ids=["dynamic", "static"])
def test_a_plan_for_four_generations_is_built_without_a_card(rtx: ModuleType, bit: Bit, shapes: Shapes) -> None:
    built = build_plan(rtx, graph_of(bit=bit), targets=GENERATIONS, shapes=shapes, bit=bit)
    assert len(built.data) > 10_000
    assert built.seconds > 0
    assert built.log == ()


def test_the_phases_of_a_build_are_told_with_the_time(rtx: ModuleType) -> None:
    told: list[tuple[str, float]] = []
    main = threading.get_ident()

    def progress(phase: str, elapsed_s: float) -> None:
        assert threading.get_ident() == main
        told.append((phase, elapsed_s))

    plan_of(rtx, progress=progress)
    assert told == sorted(told, key=lambda each: each[1])
    assert told[-1][0] == "Writing engine"


@pytest.mark.skipif(find_gpu()[0] is not None, reason="there is a card: would show what happens without a driver")
def test_the_current_card_without_a_driver_is_refused_and_the_targets_are_named(rtx: ModuleType) -> None:
    with pytest.raises(UserError, match=r"no NVIDIA driver .* --targets sm75,sm86,sm89,sm120"):
        plan_of(rtx, targets=None)


def test_bf16_for_a_card_without_it_is_refused(rtx: ModuleType) -> None:
    cast = [
        helper.make_node("Cast", ["contrast"], ["half"], to=TensorProto.BFLOAT16),
        helper.make_node("Relu", ["half"], ["relu"]),
        helper.make_node("Cast", ["relu"], ["stains"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(UserError, match="cannot build for sm75, which does not compute in this precision"):
        plan_of(rtx, graph_of(generator_with(*cast)), targets=["sm75", "sm86"])


def test_an_operator_that_only_other_libraries_know_is_named_with_them(rtx: ModuleType) -> None:
    bits = [
        helper.make_node("Cast", ["contrast"], ["whole"], to=TensorProto.INT32),
        helper.make_node("BitwiseAnd", ["whole", "one"], ["odd"], name="odd ones"),
        helper.make_node("Cast", ["odd"], ["stains"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(
        ModelError, match=r"BitwiseAnd \(node 'generator/odd ones'\).*--backend openvino or onnxruntime"
    ):
        plan_of(rtx, graph_of(generator_with(*bits)))


def test_an_operator_that_nobody_knows_is_named(rtx: ModuleType) -> None:
    blur = helper.make_node("Blur", ["contrast"], ["stains"], name="my blur", domain="lab")
    with pytest.raises(ModelError, match=r"Blur \(node 'generator/my blur'\).*nor does another engine library here"):
        plan_of(rtx, graph_of(generator_with(blur, opset=("lab", 1))))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["sm90"], "no target sm90; .* builds for sm75, sm80, sm86, sm89, sm120, sm121, or current"),
        (["sm86", "volta", "rtx"], "no target rtx, volta"),
        (["none"], "no target none"),
        ([""], "no target given"),
        ([], "no target given"),
    ],
)
def test_an_unknown_target_is_refused_with_the_list(rtx: ModuleType, names: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan_of(rtx, targets=names)


def test_targets_are_told_as_the_library_writes_them_each_once() -> None:
    assert targets_of(FakeTensorRt(), [" sm86", "SM75", "sm86"]) == ("SM75", "SM86")


def test_a_library_that_builds_for_its_own_card_only_says_so() -> None:
    with pytest.raises(UserError, match="for the card in this machine only: give --targets current"):
        targets_of(ModuleType("tensorrt"), ["sm86"])


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (((95, 96), (96, 96), (96, 96)), "95 x 96 px are not possible: at least 96 x 96"),
        (((96, 0), (96, 96), (96, 96)), "96 x 0 px are not possible"),
        (((512, 512), (256, 512), (512, 512)), "from 512 x 512 px over 256 x 512 px"),
        (((96, 96), (512, 512), (512, 511)), "neither height nor width may become smaller"),
    ],
)
def test_impossible_frame_sizes_are_refused(sizes: tuple[tuple[int, int], ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Shapes(*sizes)


@pytest.mark.parametrize(
    ("size", "taken"), [((96, 96), True), ((512, 300), True), ((95, 300), False), ((96, 513), False)]
)
def test_shapes_say_which_frames_they_take(size: tuple[int, int], taken: bool) -> None:
    assert Shapes((96, 96), (256, 256), (512, 512)).take(size) is taken


def test_a_frame_above_the_memory_of_every_card_is_refused_before_the_build() -> None:
    fake = FakeTensorRt()
    with pytest.raises(UserError, match=r"200000 x 300000 px need \d+ GiB .* the largest card has 288 GiB"):
        plan_of(fake, shapes=Shapes.only((200000, 300000)))
    assert fake.builds == 0


def test_the_library_is_asked_for_full_float32_strong_types_targets_and_sizes() -> None:
    fake = FakeTensorRt()
    shapes = Shapes((96, 96), (500, 460), (512, 512))
    assert plan_of(fake, targets=["sm75", "sm86"], shapes=shapes) == PLAN
    scalar = ((1, 1, 1, 1),) * 3
    assert fake.asked == {
        "flags": 2,
        "cleared": ["TF32"],
        "targets": ["SM75", "SM86"],
        "profile": {
            "frame": ((1, 96, 96, 2), (1, 500, 460, 2), (1, 512, 512, 2)),
            "shade": ((1, 1, 12, 12), (1, 1, 63, 58), (1, 1, 64, 64)),
            "black": scalar,
            "offset": scalar,
        },
    }
    plan_of(fake, graph_of(bit="uint8"), targets=None, bit="uint8")
    assert fake.asked["targets"][2:] == ["CURRENT"]
    assert fake.asked["profile"]["frame"][0] == (1, 1, 96, 96)


@pytest.mark.parametrize(
    ("lines", "kind", "words"),
    [
        (
            [(Severity.ERROR, "tactic\nmissing"), (Severity.INFO, "hello")],
            EngineError,
            r"build the engine: tactic missing$",
        ),
        ([], EngineError, "it gave no reason"),
        (
            [(Severity.INTERNAL_ERROR, "Error Code 2: OutOfMemory")],
            EngineMemoryError,
            "too little memory .* 2304 x 2304",
        ),
        ([(Severity.ERROR, "CUDA driver version is insufficient")], UserError, "finds no NVIDIA driver"),
    ],
)
def test_a_build_that_fails_carries_the_lines_of_the_library(
    lines: list[tuple[Severity, str]], kind: type[LivestainError], words: str
) -> None:
    def fail(fake: FakeTensorRt) -> None:
        for severity, text in lines:
            fake.logger.log(severity, text)

    with pytest.raises(kind, match=words) as raised:
        plan_of(FakeTensorRt(fail), targets=None)
    assert "hello" not in str(raised.value)


def test_warnings_of_the_library_are_kept() -> None:
    def warn(fake: FakeTensorRt) -> bytes:
        fake.logger.log(Severity.WARNING, "slow")
        return PLAN

    built = build_plan(FakeTensorRt(warn), graph_of(), targets=None, shapes=Shapes(), bit="uint16")
    assert built.log == ("WARNING: slow",)


def test_ctrl_c_ends_the_build() -> None:
    def interrupted(fake: FakeTensorRt) -> None:
        signal.raise_signal(signal.SIGINT)
        fake.until_cancelled()

    fake = FakeTensorRt(interrupted)
    with pytest.raises(KeyboardInterrupt):
        plan_of(fake)
    assert fake.ended.wait(30)
    assert fake.cancelled


def test_an_error_of_the_progress_ends_the_build_of_the_real_library(rtx: ModuleType) -> None:
    def gone(phase: str, elapsed_s: float) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        plan_of(rtx, progress=gone)


def test_without_either_library_the_command_that_installs_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    with pytest.raises(BackendMissingError, match=r"TensorRT cannot be loaded .*pip install .*livestain\[nvidia\]"):
        load_builder()


def test_the_library_that_is_installed_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorRt()
    install(monkeypatch, fake)
    assert load_builder() is fake
