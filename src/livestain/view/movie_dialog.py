"""The dialog that saves a range of time points as a movie."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from livestain.errors import LivestainError, UserError
from livestain.frames import Key
from livestain.view.movie import ENDINGS, FPS, MovieJob, MoviePlan, check_movie
from livestain.view.snapshot import EXPORT_FOLDER, free_name, make_export_folder
from livestain.view.state import ViewState

_LOOK_MS = 100
_WIDTH_PX = 460
_USUAL_FPS = 10


class MovieDialog(QDialog):
    """Chooses range, rate and file, and shows how far the movie is; the window can be used meanwhile.

    Parameters
    ----------
    run
        The run folder, also of a session that is recording.
    state
        How layers are shown; copied when the movie begins. Its picture says the place.
    extent
        Numbers of positions, time points and z sections there are.

    ``written(str)``: the path of a movie that is whole.
    """

    written = Signal(str)

    def __init__(
        self, run: Path, state: ViewState, extent: tuple[int, int, int], parent: QWidget | None = None
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._run, self._state, self._extent = run, state, extent
        self._place = state.picture.key if state.picture is not None else Key(0, 0, 0)
        self.job: MovieJob | None = None
        self.setWindowTitle("Movie")
        self.setMinimumWidth(_WIDTH_PX)
        last = max(0, extent[1] - 1)
        self.first, self.last = _number(0, last, 0), _number(0, last, last)
        self.fps = _number(int(FPS[0]), int(FPS[1]), _USUAL_FPS)
        self.kind = QComboBox()
        self.kind.addItems(["MP4 (for slides and the web)", "GIF (short, smaller picture)"])
        self.folder = run / EXPORT_FOLDER
        self.file = QLineEdit(free_name(self.folder / f"{run.name}.mp4").name)
        self.where = QLabel()
        self.where.setProperty("role", "muted")
        self.choose = QPushButton("Choose ...")
        self.told = QLabel()
        self.told.setWordWrap(True)
        self.told.setMinimumHeight(2 * self.told.fontMetrics().lineSpacing() + 2)
        self.told.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.progress = QProgressBar()
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.save = self.buttons.addButton("Save movie", QDialogButtonBox.ButtonRole.ActionRole)
        self.save.setDefault(True)
        self.choose.setAutoDefault(False)
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        for spin in (self.first, self.last, self.fps):
            spin.valueChanged.connect(self._check)
        self.file.textChanged.connect(self._check)
        self.kind.currentIndexChanged.connect(self._set_kind)
        self.choose.clicked.connect(self._choose)
        self.save.clicked.connect(self._save_or_cancel)
        self.buttons.rejected.connect(self.reject)
        QApplication.instance().aboutToQuit.connect(self._end)
        self._check()

    @property
    def plan(self) -> MoviePlan:
        """What is chosen."""
        return MoviePlan(
            self.first.value(), self.last.value(), self._place.p, self._place.z, float(self.fps.value())
        )  # fmt: skip

    @property
    def path(self) -> Path:
        """The file that is chosen."""
        return self.folder / str(self.file.text()).strip()

    def done(self, result: int) -> None:
        """Close, also by Escape; what is under way is cancelled, no half movie is left."""
        self._end()
        super().done(result)

    def _end(self) -> None:
        if self.job is not None and self.job.running:
            self.job.cancel()
            self.job.join()

    def _lay_out(self) -> None:
        times, rate, file = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        for widget in (self.first, QLabel("to"), self.last):
            times.addWidget(widget)
        times.addStretch(1)
        rate.addWidget(self.fps)
        rate.addStretch(1)
        file.addWidget(self.file, 1)
        file.addWidget(self.choose)
        form = QFormLayout()
        form.addRow("Time points", times)
        form.addRow("Time points a second", rate)
        form.addRow("Format", self.kind)
        form.addRow("File", file)
        form.addRow("", self.where)
        layout = QVBoxLayout(self)
        layout.setSpacing(10)
        layout.addLayout(form)
        for widget in (self.told, self.progress, self.buttons):
            layout.addWidget(widget)
        self.progress.setTextVisible(True)
        self.progress.setValue(0)

    def _choose(self) -> None:
        begin = self.path if self.folder.is_dir() else self._run / self.path.name
        name, _ = QFileDialog.getSaveFileName(self, "Movie", str(begin), "Movies (*.mp4 *.gif)")
        if name:
            self.folder = Path(name).parent
            self.file.setText(Path(name).name)
            self._check()

    def _set_kind(self, index: int) -> None:
        self.file.setText(free_name(self.path.with_suffix(ENDINGS[index])).name)

    def _check(self) -> None:
        """Say what it would be, or why it cannot be."""
        plan = self.plan
        if self.job is not None and self.path == self.job.written:
            # Another movie: the name of the last one is taken.
            self.file.setText(free_name(self.path).name)
        self._tell_where()
        # The run's own folder for exports is made when there is something to put into it.
        path = self.path if self.folder.is_dir() else self.folder.parent / self.path.name
        try:
            check_movie(path, plan, self._extent)
        except UserError as error:
            self._tell(str(error), bad=True)
            self.save.setEnabled(False)
            return
        count = plan.last - plan.first + 1
        self._tell(f"{count} frames, {count / plan.fps:.1f} s, with mark, scale bar and time in each")
        self.save.setEnabled(True)

    def _save_or_cancel(self) -> None:
        if self.job is not None and self.job.running:
            self.job.cancel()
            return
        try:
            make_export_folder(self.folder)
        except LivestainError as error:
            self._tell(str(error), bad=True)
            return
        self.job = MovieJob(self.path, self._run, self._state, self.plan)
        self.progress.setRange(0, self.job.total)
        self.save.setText("Cancel")
        self._timer.start(_LOOK_MS)

    def _look(self) -> None:
        job = self.job
        if job is None:
            return
        self.progress.setValue(job.done)
        if job.running:
            return
        self._timer.stop()
        self.save.setText("Save movie")
        if job.written is None:
            self.progress.setValue(0)
            self._tell(job.problem or "cancelled, no file was written", bad=bool(job.problem))
            return
        self._tell(f"saved: {job.written}")
        self.save.setEnabled(False)
        self.written.emit(str(job.written))

    def _tell_where(self) -> None:
        text = self.where.fontMetrics().elidedText(f"in {self.folder}", Qt.TextElideMode.ElideMiddle, _WIDTH_PX - 120)
        self.where.setText(text)
        self.where.setToolTip(str(self.folder))

    def _tell(self, text: str, *, bad: bool = False) -> None:
        self.told.setProperty("role", "bad" if bad else "muted")
        self.told.style().polish(self.told)
        self.told.setText(text)


def _number(low: int, high: int, value: int) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(low, high)
    spin.setValue(value)
    spin.setMinimumWidth(90)
    return spin
