// A graph as the documentation of @xyflow/react shows it with elkjs: laid out in layers, drawn as
// its default nodes, only those in view. Nothing is tuned beyond what the two document.
import { ReactFlow, ReactFlowProvider, useNodesInitialized } from "@xyflow/react";
import "@xyflow/react/dist/style.css";
import ELK from "elkjs/lib/elk.bundled.js";
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const graph = await (await fetch("graph.json")).json();
const elk = new ELK();
const laid = await elk.layout({
  id: "root",
  layoutOptions: { "elk.algorithm": "layered", "elk.direction": "RIGHT" },
  children: graph.nodes.map((id) => ({ id, width: 224, height: 72 })),
  edges: graph.edges.map(([source, target], at) => ({
    id: `e${at}`, sources: [graph.nodes[source]], targets: [graph.nodes[target]],
  })),
});
const nodes = laid.children.map((one) => ({
  id: one.id, position: { x: one.x, y: one.y }, data: { label: one.id },
  width: 224, height: 72, sourcePosition: "right", targetPosition: "left",
}));
const edges = graph.edges.map(([source, target], at) => ({
  id: `e${at}`, source: graph.nodes[source], target: graph.nodes[target],
}));

function Ready() {
  const initialized = useNodesInitialized();
  const [told, setTold] = useState(false);
  useEffect(() => {
    if (!initialized || told) return;
    setTold(true);
    requestAnimationFrame(() => {
      performance.mark("lodeline:graph-ready");
      document.getElementById("root").dataset.ready = "1";
    });
  }, [initialized, told]);
  return null;
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <ReactFlowProvider>
      <ReactFlow defaultNodes={nodes} defaultEdges={edges} fitView minZoom={0.02} onlyRenderVisibleElements>
        <Ready />
      </ReactFlow>
    </ReactFlowProvider>
  </StrictMode>,
);
