"""`fervit.verify` computes the numbers of a sweep again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fervit.api.arguments import as_text
from fervit.checkpoints.export import CARD_FILE
from fervit.errors import UserError
from fervit.io.files import from_home
from fervit.progress import Progress, Say, silent
from fervit.search.outcome.fingerprints import version_of
from fervit.search.splits import Splits
from fervit.verification.comparison import Comparison, DifferenceError
from fervit.verification.evaluation import check_data, check_evaluation, check_simple_models, check_validation
from fervit.verification.files import check_files
from fervit.verification.record import check_card, check_choice, check_journal, check_leaderboard, check_model
from fervit.verification.retrain import retrain as train_again
from fervit.verification.sweep import EndedSweep, open_sweep, read_latents
from fervit.version import __version__

LIMIT = (
    "an edit in one place is found; that someone has rewritten the journal, the models and all that follows from them "
    "alike is not"
)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `fervit.verify` found."""

    numbers: int
    """How many numbers and texts were as stated, up to the first that was not."""
    difference: str = ""
    """The first number or file that differs, on one line; "" if all are as stated."""


def verify(
    sweep: str | Path, *, latents: str | Path | None = None, retrain: bool = False, say: Say | None = print
) -> Verification:
    """Computes every printed number of a sweep again from its journal, its models and its latents.

    These are the leaderboard, the confirmation, the ties, the choice, the results on validation and on the test split
    with their intervals, and the model card. The fingerprints of the latents, of the models and of all files follow.

    Args:
        sweep: the folder of a sweep that has ended.
        latents: the folder or URI of its latents, if they have moved; None for where they were.
        retrain: whether to train the chosen run again: the same bits on one CPU core of the same kind, else within the
            noise of the fresh seeds.
        say: gets each line of text; None for silence.

    Returns:
        How many numbers were as stated, and the first difference.

    Raises:
        UserError: the folder is no sweep's, the sweep has not ended or was ended by an earlier version, or its latents
            are not there.

    Example:
        assert not fervit.verify("experiments/vit_20260102_030405").difference
    """
    tell, compare = say or silent, Comparison()
    try:
        found = open_sweep(Path(from_home(str(sweep))))
        splits = read_latents(found, as_text(latents))
        _check(found, splits, compare, say)
        if retrain:
            train_again(found, splits, compare, tell)
    except DifferenceError as error:
        tell(f"DIFFERS: {error}")
        return Verification(numbers=compare.numbers, difference=str(error))
    tell(
        f"verified: {compare.numbers:,} numbers are as stated, computed again from the journal, the models, the latents"
    )
    tell(f"what this cannot find: {LIMIT}")
    return Verification(numbers=compare.numbers)


def _check(sweep: EndedSweep, splits: Splits, compare: Comparison, say: Say | None) -> None:
    """Runs all checks, those of numbers first, so that the message names a number rather than a file.

    Raises:
        DifferenceError: a number or a file differs.
    """
    first = (
        *(partial(check, sweep, compare) for check in (check_journal, check_choice, check_leaderboard, check_model)),
        *(partial(check, sweep, splits, compare) for check in (check_data, check_validation)),
    )
    progress = Progress(len(first) + 4, "checks", "verify", say)
    try:
        for check in first:
            check()
            progress.add(1)
        stated = check_evaluation(sweep, splits, compare)
        progress.add(1)
        check_simple_models(sweep, splits, stated[0], compare)
        progress.add(1)
        if (version := version_of(sweep.files)) == __version__:
            check_card(sweep, splits, *stated)
        elif say is not None:
            say(f"{CARD_FILE} is in the words of fervit {version}: only its fingerprint is compared, not each line")
        progress.add(1)
        check_files(sweep.files, compare)
        progress.add(1)
    except UserError as error:  # a file of the sweep is missing or damaged
        raise DifferenceError(str(error)) from None
    finally:
        progress.close()
