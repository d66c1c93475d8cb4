"""What the recipes of a runtime do. Nothing to do for one that offers none."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.launchers.host import this_host
from modelyard.runtimes import Failure, OptimizeContext, Recipe
from modelyard.runtimes.testing.engine import Engine
from modelyard.runtimes.testing.explained import CODE, assert_explained
from modelyard.runtimes.testing.hooks import Hooks
from modelyard.runtimes.testing.serving import listing


class Optimizing(Hooks):
    """Facts about recipes."""

    def offered(self) -> Sequence[Recipe]:
        """The recipes for the model here."""
        return self.runtime.recipes(self.model(), self.validated(), this_host())

    def test_recipes_explain_themselves(self) -> None:
        """Their name is stored; people choose by title and description; their options are the runtime's."""
        offered = self.offered()
        assert len({recipe.name for recipe in offered}) == len(offered)
        for recipe in offered:
            assert CODE.fullmatch(recipe.name.replace("-", "_")), recipe.name
            assert recipe.title.strip()
            assert recipe.description.strip()
            self.runtime.options.model_validate({**self.options, **recipe.options})

    def test_an_unknown_recipe_is_refused(self, tmp_path: Path) -> None:
        """One of another version of the plugin, say."""
        unknown = Recipe("no-such-recipe", "None", "Nobody offers this.")
        with pytest.raises(Failure) as caught:
            self.runtime.optimize(OptimizeContext(self.model(), unknown, tmp_path / "out", tmp_path))
        assert_explained(caught.value)
        assert caught.value.permanent

    def test_recipes_make_models_that_serve(self, tmp_path: Path) -> None:
        """Each is run for real; the original stays as it is, and what came out answers."""
        chosen = [recipe for recipe in self.offered() if self.recipes is None or recipe.name in self.recipes]
        if not chosen:
            pytest.skip("it offers no recipe for this model")
        before = listing(self.model().path)
        for recipe in chosen:
            self.serve_optimized(recipe, tmp_path / recipe.name)
        assert listing(self.model().path) == before

    def serve_optimized(self, recipe: Recipe, place: Path) -> None:
        """Run one recipe, and start an engine with what it made."""
        model = self.model()
        if recipe.artifact:
            model = replace(model, path=self.make(recipe, place))
        options = {**self.options, **recipe.options}
        with Engine(self.runtime, model, options, place / "serve") as engine:
            engine.start().ready()

    def make(self, recipe: Recipe, place: Path) -> Path:
        """The artifact of a recipe, made by its process."""
        output = place / "output"
        output.mkdir(parents=True)
        with Engine(self.runtime, self.model(), self.options, place / "make") as process:
            context = OptimizeContext(self.model(), recipe, output, process.context.workdir)
            process.run(self.runtime.optimize(context))
            seen = process.gone(self.runtime.ready_seconds)
            assert seen.exit_code == 0, f"{recipe.name} failed: {process.death()} Its log: {process.said()}"
        assert any(output.iterdir()), f"{recipe.name} made nothing"
        return output
