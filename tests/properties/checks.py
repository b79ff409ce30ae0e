"""All properties with the strategies of their cases, for tests and for ``run.py``."""

import functools

import cases
import hostile
import properties

CHECKS = {
    "fits": (cases.cases, properties.fit_is_valid_or_refused),
    "fits of GLRM": (functools.partial(cases.cases, (cases.glrms,)),
    properties.fit_is_valid_or_refused),
    "containers": (cases.cases, properties.the_container_does_not_matter),
    "rows alone": (cases.cases, properties.a_row_is_folded_in_alone),
    "permutations": (
        functools.partial(cases.cases, (cases.glrms,)), properties.rows_and_columns_may_be_permuted,
    ),
    "saved models": (cases.cases, properties.a_loaded_model_is_the_model),
    "reading": (cases.cases, properties.every_container_is_read_alike),
    "block files": (cases.cases, properties.a_block_file_holds_the_cells),
    "losses": (cases.charges, properties.losses_are_finite_in_their_domain),
    "proxes": (cases.steps, properties.proxes_are_finite_and_obey),
    "hostile files": (hostile.files, hostile.a_file_is_read_or_refused),
}  # fmt: skip
