"""What single cells cost, and how that changes with their predictions."""

from .._jit import kernel


@kernel
def cell_costs(loss, predictions, observations, out):
    """Write L(u_t, a_t) of predictions (n_cells,) and observations (n_cells,) to out (n_cells,)."""
    for t in range(out.size):
        out[t] = loss.value(predictions[t], observations[t])


@kernel
def cell_slopes(loss, predictions, observations, out):
    """Write the derivative of L(u_t, a_t) by u_t of every cell to out (n_cells,)."""
    for t in range(out.size):
        out[t] = loss.gradient(predictions[t], observations[t])


@kernel
def vector_cell_costs(loss, predictions, observations, out):
    """Write L(u_t, a_t) of predictions (n_cells, d) and observations (n_cells,) to out."""
    for t in range(out.size):
        out[t] = loss.value(predictions[t], observations[t])


@kernel
def vector_cell_slopes(loss, predictions, observations, out):
    """Write the gradient of L(u_t, a_t) by u_t of every cell to out (n_cells, d)."""
    for t in range(observations.size):
        loss.gradient(predictions[t], observations[t], out[t])
