"""`/problems/<slug>`: what a type of problem means, for people who follow the `type` of an error."""

from flask import Blueprint, Response, jsonify, render_template

from api.http.operation import Answer, Scope, operation, wants_page
from api.http.parameters import PathParameter
from api.http.problem_types import PROBLEMS
from api.http.problems import ProblemError
from api.http.static_files import PAGE_UNCHANGED, page
from api.openapi.html import prose
from service.errors import ProblemExplanation

SLUG = PathParameter("slug", "the end of an error's `type`", {"type": "string", "enum": list(PROBLEMS)})

blueprint = Blueprint("problems", __name__)


@blueprint.get("/problems/<slug>")
@operation(
    Scope.OPEN,
    SLUG,
    answers=[
        Answer(ProblemExplanation, "the explanation"),
        Answer(media_type="text/html", description="the same as a page, for a browser"),
        PAGE_UNCHANGED,
    ],
    problems=["not-found"],
)
def explain(slug: str) -> Response:
    """Explain a type of problem: its status, what it means, and what to do about it."""
    problem_type = PROBLEMS.get(slug)
    if problem_type is None:
        raise ProblemError("not-found", f"There is no type of problem {slug!r}; /docs lists all.")
    explanation: ProblemExplanation = {
        "type": f"/problems/{slug}",
        "title": problem_type.title,
        "status": problem_type.status,
        "meaning": problem_type.meaning,
        "advice": problem_type.advice,
    }
    response = (
        page(render_template("problem.html", prose=prose, problems=PROBLEMS, **explanation))
        if wants_page()
        else jsonify(explanation)
    )
    response.vary.add("Accept")
    return response
